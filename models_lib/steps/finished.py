"""What is finished stays finished: the result of a step is known by the content of what it was made from.

A step's key is the SHA-256 over its name, the content of its inputs, the settings that it reads and the code's version.
No run id, no path and no time goes into it, so a run that comes after a crash finds what the crashed one had finished,
and so does any other run that would do the same work. A result lies in

    <home>/cache/steps/<SYMBOL>/<step>-<start of the key>/
        its files      each written whole or not at all
        result.json    the small reference that the step answered with, and the SHA-256 of each file; written last
        .lock          held while the step works: of two runs that need the same result one works and one waits

A folder without result.json was never finished. A result whose files changed is not believed: the step is done again.
The run folder holds a link to each result that the run used. The cache may be deleted at any time; `crpbot clean`
removes what was not used for days. Where the configuration says so, results are shared between machines
(shared_results.py); one that came from elsewhere is believed as little as one that lay here.

What does not belong here: which inputs and settings a step has (once.py) and what the steps do.
"""

import contextlib
import fcntl
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, TypeVar

from pydantic import BaseModel, ValidationError

from models_lib.errors import CrpbotError, DataError
from models_lib.files import canonical_json, sha256_bytes, write_json
from models_lib.steps.code_version import code_version
from models_lib.steps.plan import RunPlan
from models_lib.steps.refs import FileRef, Reference
from models_lib.steps.shared_results import RESULT_NAME, SharedResults

LOCK_NAME = ".lock"
_HERE = "./"
"""Stands for the result's own folder in result.json, so that a home can be moved."""
_log = logging.getLogger(__name__)
Answer = TypeVar("Answer", bound=Reference)


def done_once(
    plan: RunPlan,
    symbol: str,
    step: str,
    answer: type[Answer],
    work: Callable[[Path], Answer],
    *,
    shared: SharedResults,
    **made_from: Any,
) -> Answer:
    """The answer of a step: the kept one if the same was finished before, else that of `work`, which is kept.

    Args:
        plan: the run that needs it.
        symbol: whose step.
        step: its name.
        answer: the class of its answer.
        work: does the step; it is given the folder for its files.
        shared: where other machines may have finished it, and will look for it. It is a convenience: what it fails to
            bring is made here, and what it fails to keep stands here.
        made_from: everything that the answer depends on: references, sections of the configuration, plain values.

    Raises:
        Exception: whatever `work` raises; nothing is kept then.
    """
    content = {"step": step, "symbol": symbol, "code": code_version(), **content_of(made_from)}
    key = sha256_bytes(canonical_json(content))
    folder = plan.home / "cache" / "steps" / symbol / f"{step}-{key[:16]}"
    with _sole_worker(folder):
        _show_in_run_folder(plan.symbol_folder(symbol) / step, folder)
        kept = _kept(folder, key, answer)
        if kept is not None:
            _log.info("%s: finished before, taken over", step, extra={"symbol": symbol})
            return kept
        _clear(folder)
        if _fetched(shared, symbol, folder) and (kept := _kept(folder, key, answer)) is not None:
            _log.info("%s: finished on another machine, taken over", step, extra={"symbol": symbol})
            return kept
        _clear(folder)
        result = work(folder)
        record = {"key": key, "made_from": content, "run_id": plan.run_id, "finished_at": f"{datetime.now(UTC):%FT%TZ}"}
        write_json(folder / RESULT_NAME, {**record, "answer": _portable(result.model_dump(mode="json"), folder)})
        _keep(shared, symbol, folder)
        return result


def content_of(value: Any) -> Any:
    """Plain values that say what `value` is, wherever it lies: a file is its hash, a path is nothing."""
    match value:
        case FileRef():
            return value.sha256
        case BaseModel():
            fields = {name: getattr(value, name) for name in type(value).model_fields}
            return {name: content_of(field) for name, field in fields.items() if not isinstance(field, Path)}
        case dict():
            return {name: content_of(item) for name, item in value.items()}
        case tuple() | list():
            return [content_of(item) for item in value]
        case _:
            return value


@contextlib.contextmanager
def _sole_worker(folder: Path) -> Iterator[None]:
    """Holds the folder's lock; the system lets go of it when this process ends, however it ends."""
    lock = _locked(folder)
    while lock is None:
        lock = _locked(folder)
    with lock:
        yield


def _locked(folder: Path) -> IO[bytes] | None:
    """The folder's lock, held; None when the folder was cleaned away while this process waited for it."""
    path = folder / LOCK_NAME
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.suppress(FileNotFoundError))
        folder.mkdir(parents=True, exist_ok=True)
        lock = stack.enter_context(path.open("ab"))
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.stat().st_ino == os.fstat(lock.fileno()).st_ino:
            stack.pop_all()
            return lock
    return None


def _kept(folder: Path, key: str, answer: type[Answer]) -> Answer | None:
    """The answer that lies in `folder`, after all its files were found to be what they were; None when there is none."""
    path = folder / RESULT_NAME
    if not path.is_file():
        return None
    try:
        record = json.loads(path.read_bytes())
        if record["key"] != key:
            raise DataError(f"{path} is the result of another key, {str(record['key'])[:16]}.")
        kept = answer.model_validate(_absolute(record["answer"], folder))
        kept.check_files()
    except (ValueError, KeyError, TypeError, ValidationError, CrpbotError, OSError) as error:
        _log.warning("%s: the kept result is damaged and is made again: %s", folder.name, error)
        return None
    os.utime(path)  # `crpbot clean` goes by the last use
    return kept


def _fetched(shared: SharedResults, symbol: str, folder: Path) -> bool:
    """Whether the result lies in `folder` now, as another machine finished it."""
    try:
        return shared.fetch(symbol, folder.name, folder)
    except CrpbotError as error:
        _log.warning("%s: not taken over from other machines: %s", folder.name, error, extra={"symbol": symbol})
        return False


def _keep(shared: SharedResults, symbol: str, folder: Path) -> None:
    try:
        shared.keep(symbol, folder.name, folder)
    except CrpbotError as error:
        _log.warning("%s: not kept for other machines: %s", folder.name, error, extra={"symbol": symbol})


def _clear(folder: Path) -> None:
    """Removes what a crash or a damaged result left, result.json first."""
    (folder / RESULT_NAME).unlink(missing_ok=True)
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != LOCK_NAME:
            path.unlink()


def _portable(value: Any, folder: Path) -> Any:
    """JSON with paths below `folder` as ./..."""
    match value:
        case dict():
            return {name: _portable(item, folder) for name, item in value.items()}
        case list():
            return [_portable(item, folder) for item in value]
        case str() if value.startswith(f"{folder}/"):
            return _HERE + value.removeprefix(f"{folder}/")
        case _:
            return value


def _absolute(value: Any, folder: Path) -> Any:
    """The inverse of `_portable`."""
    match value:
        case dict():
            return {name: _absolute(item, folder) for name, item in value.items()}
        case list():
            return [_absolute(item, folder) for item in value]
        case str() if value.startswith(_HERE):
            return f"{folder}/{value.removeprefix(_HERE)}"
        case _:
            return value


def _show_in_run_folder(link: Path, folder: Path) -> None:
    """A link by which a person finds the step's files from the run folder."""
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(os.path.relpath(folder, link.parent), target_is_directory=True)
