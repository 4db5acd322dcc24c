"""The runtime's own log: JSON lines in `logs/runtime.jsonl`, which is rotated, and the same for people on stderr.

A log that cannot be written (a full disk, a folder that is gone) never stops the runtime: that is said once on stderr,
and the file is opened again with the next line. What a failed write left of a line stays a line of its own.

What does not belong here: signals (signals.jsonl) and health, which have files of their own.
"""

import contextlib
import json
import logging
import os
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TextIO

LOG_FILE = "runtime.jsonl"
OUR_LOGGERS = ("models_lib", "tasks", "flows")
"""Told from INFO on; what libraries say counts from WARNING on."""
EXTRAS = ("symbol", "bar", "number", "bundle", "refusal")
"""Fields of a record (`extra={"symbol": ...}`) that a line carries beside the message."""
HIDDEN = "(hidden)"


def set_up_logs(folder: Path, *, max_bytes: int, keep: int, secrets: Iterable[str] = ()) -> Callable[[], None]:
    """Sends this process's log to `folder`/runtime.jsonl and to stderr from now on; returns what ends that.

    Args:
        folder: made when it is missing, for this user alone.
        max_bytes: size at which the file is rotated, above 0.
        keep: rotated files that are kept (runtime.jsonl.1 is the newest), at least 1.
        secrets: values from the environment, such as an address with a token in it; hidden wherever they occur.

    Raises:
        ValueError: limits with which the file would grow without end.
    """
    if max_bytes < 1 or keep < 1:
        raise ValueError(f"max_bytes and keep must be at least 1, were {max_bytes} and {keep}")
    hidden = tuple(secret for secret in secrets if secret)
    with contextlib.suppress(OSError):  # the first line says what is wrong
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = _JsonFile(folder / LOG_FILE, maxBytes=max_bytes, backupCount=keep, encoding="utf-8", delay=True)
    file.setFormatter(_JsonLine(hidden))
    people = _Stderr(sys.stderr)
    people.setFormatter(_PlainLine(hidden))
    levels = {name: logging.getLogger(name).level for name in OUR_LOGGERS}
    for name in OUR_LOGGERS:
        logging.getLogger(name).setLevel(logging.INFO)
    for handler in (file, people):
        logging.getLogger().addHandler(handler)

    def end() -> None:
        for handler in (file, people):
            logging.getLogger().removeHandler(handler)
            handler.close()
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)

    return end


class _Hiding(logging.Formatter):
    """A formatter that knows what must not be told."""

    def __init__(self, hidden: tuple[str, ...]) -> None:
        super().__init__()
        self._hidden = hidden

    def _told(self, text: str) -> str:
        for secret in self._hidden:
            text = text.replace(secret, HIDDEN)
        return text.encode(errors="backslashreplace").decode()  # half a character, as a broken message may hold it

    def _exception(self, record: logging.LogRecord) -> str | None:
        return self._told(self.formatException(record.exc_info)) if record.exc_info else None


class _JsonLine(_Hiding):
    """A record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        said: dict[str, str | int] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": self._told(record.getMessage()),
        }
        for name in EXTRAS:
            value = getattr(record, name, None)
            if value is not None:
                said[name] = value if isinstance(value, int) else self._told(str(value))
        exception = self._exception(record)
        if exception is not None:
            said["exception"] = exception
        return json.dumps(said, ensure_ascii=False)


class _PlainLine(_Hiding):
    """A record as a person reads it; the traceback, where there is one, below."""

    def format(self, record: logging.LogRecord) -> str:
        symbol = getattr(record, "symbol", None)
        message = self._told(f"{symbol}: {record.getMessage()}" if symbol else record.getMessage())
        time = datetime.fromtimestamp(record.created, UTC)
        line = f"{time:%Y-%m-%d %H:%M:%S} UTC {record.levelname.lower()}: {message}"
        exception = self._exception(record)
        return line if exception is None else f"{line}\n{exception}"


class _JsonFile(RotatingFileHandler):
    """The rotated file, which may fail and come back."""

    _told = False

    def emit(self, record: logging.LogRecord) -> None:
        """Writes a line; what went wrong is told once, until a line goes through again."""
        self._errors: list[OSError] = []
        super().emit(record)
        if self._errors:
            self._close_for_now()
            if not self._told:
                _tell(f"{self.baseFilename}: cannot be written ({self._errors[0].strerror})")
        self._told = bool(self._errors)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name that logging calls
        """Called inside the `except` of a failed line."""
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            self._errors.append(error)
        else:
            super().handleError(record)  # a wrong log call, which logging itself tells with its place

    def _close_for_now(self) -> None:
        if self.stream is not None:
            with contextlib.suppress(OSError):  # what is left in its buffer cannot be written either
                self.stream.close()
            self.stream = None  # the handler's own sign for: open it with the next line

    def _open(self) -> TextIOWrapper:
        """Appends to the file, after the rest of a line that a failed write or a crash left, if there is one."""
        cut_off = _ends_within_a_line(Path(self.baseFilename))
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        stream = os.fdopen(descriptor, "w", encoding="utf-8")
        if cut_off:
            stream.write("\n")
        return stream


class _Stderr(logging.StreamHandler[TextIO]):
    """Lines for whoever watches; when nobody does any more, that is no fault."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name that logging calls
        if not isinstance(sys.exc_info()[1], OSError | ValueError):  # a broken pipe, a closed stream
            super().handleError(record)


def _ends_within_a_line(path: Path) -> bool:
    if not path.exists():
        return False
    with path.open("rb") as stream:
        if stream.seek(0, os.SEEK_END) == 0:
            return False
        stream.seek(-1, os.SEEK_END)
        return stream.read(1) != b"\n"


def _tell(fact: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # nobody reads stderr either
        sys.stderr.write(
            f"{fact}. Make room or mend the folder: the log goes on by itself, until then on stderr alone.\n"
        )
