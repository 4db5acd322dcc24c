"""The runtime's log: one JSON object a line, rotated, without secrets, and no reason to stop."""

import json
import logging
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from models_lib.runtime.logs import set_up_logs

SetUp = Callable[..., None]
LOG = logging.getLogger("models_lib.runtime.engine")
Heard = pytest.CaptureFixture[str]


@pytest.fixture
def set_up(tmp_path: Path) -> Iterator[SetUp]:
    """`set_up_logs` into tmp_path/logs; ended after the test."""
    # As on a host: in this process another test's Prefect may have set loggers up for its own console.
    foreign = [
        (logger, handler)
        for logger in (logging.getLogger(), logging.getLogger("models_lib"))
        for handler in logger.handlers
        if type(handler).__module__.startswith("prefect.")
    ]
    for logger, handler in foreign:
        logger.removeHandler(handler)
    library = logging.getLogger("models_lib")
    before = library.level
    library.setLevel(logging.NOTSET)
    ends: list[Callable[[], None]] = []

    def start(folder: Path = tmp_path / "logs", **settings: object) -> None:
        ends.append(set_up_logs(folder, **{"max_bytes": 1_000_000, "keep": 2, **settings}))

    yield start
    for end in ends:
        end()
    library.setLevel(before)
    for logger, handler in foreign:
        logger.addHandler(handler)


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "logs/runtime.jsonl").read_text().splitlines()]


def test_line_carries_time_level_message_and_extras(set_up: SetUp, tmp_path: Path, capsys: Heard) -> None:
    set_up()
    before = datetime.now(UTC)
    bar = datetime(2026, 1, 1, 0, 1, tzinfo=UTC)
    LOG.info("signal %d issued", 7, extra={"symbol": "BTC-USD", "bar": bar, "number": 7, "done": 3})
    (line,) = lines(tmp_path)
    time = datetime.fromisoformat(line.pop("time"))
    assert abs((time - before).total_seconds()) < 5
    assert time.tzinfo is not None
    assert line == {
        "level": "INFO",
        "logger": "models_lib.runtime.engine",
        "message": "signal 7 issued",
        "symbol": "BTC-USD",
        "bar": "2026-01-01 00:01:00+00:00",
        "number": 7,
    }
    assert capsys.readouterr().err == f"{time:%Y-%m-%d %H:%M:%S} UTC info: BTC-USD: signal 7 issued\n"


def test_exception_stays_in_its_line(
    set_up: SetUp, tmp_path: Path, capsys: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # pytest's own would send half a character to its parent
    set_up()
    try:
        int("no such\nbar \ud800 ü")
    except ValueError:
        LOG.exception("bar refused \ud800")
    (line,) = lines(tmp_path)
    assert line["message"] == "bar refused \\ud800"
    assert line["exception"].startswith("Traceback (most recent call last):\n")
    assert "ValueError: invalid literal for int() with base 10: 'no such\\nbar " in line["exception"]
    assert "UTC error: bar refused \\ud800\nTraceback" in capsys.readouterr().err


def test_libraries_are_heard_from_warnings_on(set_up: SetUp, tmp_path: Path) -> None:
    set_up()
    logging.getLogger("numba.core").info("compiling")
    logging.getLogger("numba.core").warning("slow")
    LOG.debug("too much")
    assert [line["message"] for line in lines(tmp_path)] == ["slow"]


def test_secret_is_hidden_in_message_extra_and_exception(set_up: SetUp, tmp_path: Path, capsys: Heard) -> None:
    address = "https://hooks.example.com/services/T0/B0/hush"
    set_up(secrets=[address, ""])
    try:
        int(address)
    except ValueError:
        LOG.exception("told %s", address, extra={"refusal": address})
    (line,) = lines(tmp_path)
    assert line["message"] == "told (hidden)"
    assert line["refusal"] == "(hidden)"
    assert "hush" not in json.dumps(line) + capsys.readouterr().err


def test_files_are_rotated_and_only_as_many_kept(set_up: SetUp, tmp_path: Path) -> None:
    set_up(max_bytes=2_000, keep=2)
    for number in range(200):
        LOG.info("bar", extra={"number": number})
    files = sorted((tmp_path / "logs").iterdir())
    assert [path.name for path in files] == ["runtime.jsonl", "runtime.jsonl.1", "runtime.jsonl.2"]
    assert all(path.stat().st_size <= 2_000 for path in files)
    kept = [json.loads(line)["number"] for path in reversed(files) for line in path.read_text().splitlines()]
    assert kept == list(range(200 - len(kept), 200))
    assert len(kept) > 20
    assert files[0].stat().st_mode & 0o777 == 0o600
    assert files[0].parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("limits", [{"max_bytes": 0}, {"keep": 0}])
def test_log_without_end_is_refused(set_up: SetUp, limits: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        set_up(**limits)


def test_full_disk_is_told_once_and_the_log_goes_on_when_there_is_room(
    set_up: SetUp, tmp_path: Path, capsys: Heard
) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "runtime.jsonl").symlink_to("/dev/full")
    set_up()
    for number in range(3):
        LOG.info("bar %d", number)
    told = capsys.readouterr().err
    assert told.count("cannot be written (No space left on device). Make room") == 1
    assert [f"info: bar {number}" in told for number in range(3)] == [True] * 3
    assert "Traceback" not in told

    (folder / "runtime.jsonl").unlink()
    LOG.info("bar 3")
    assert [line["message"] for line in lines(tmp_path)] == ["bar 3"]
    assert "cannot be written" not in capsys.readouterr().err


def test_folder_that_cannot_be_made_is_told(set_up: SetUp, tmp_path: Path, capsys: Heard) -> None:
    (tmp_path / "file").write_text("no folder")
    set_up(tmp_path / "file" / "logs")
    LOG.info("bar")
    LOG.info("bar")
    assert capsys.readouterr().err.count("cannot be written (Not a directory)") == 1


def test_line_after_one_that_was_cut_off_is_whole(set_up: SetUp, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/runtime.jsonl").write_text('{"time":"2026')
    set_up()
    LOG.info("bar")
    cut_off, whole = (tmp_path / "logs/runtime.jsonl").read_text().splitlines()
    assert cut_off == '{"time":"2026'
    assert json.loads(whole)["message"] == "bar"


def test_reader_of_stderr_that_went_away_stops_nothing(
    set_up: SetUp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", buffering=1) as stderr:
        monkeypatch.setattr("sys.stderr", stderr)
        set_up()
        LOG.info("bar")
        monkeypatch.undo()
        assert [line["message"] for line in lines(tmp_path)] == ["bar"]
        with pytest.raises(BrokenPipeError):
            stderr.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), stderr.fileno())


@pytest.mark.usefixtures("set_up")
def test_after_the_end_nothing_is_written(tmp_path: Path) -> None:
    end = set_up_logs(tmp_path / "logs", max_bytes=1_000, keep=1)
    LOG.info("heard")
    end()
    LOG.warning("not heard")
    assert [line["message"] for line in lines(tmp_path)] == ["heard"]
    assert not LOG.isEnabledFor(logging.INFO)
