"""The pace is one for all processes of a machine, whatever happens to them, to the file and to the machine."""

import fcntl
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from models_lib.errors import ConfigError, StoppedError, TransientError
from models_lib.interruption import allow_work, request_stop
from tasks.adapters.exchange import pace as rooms
from tasks.adapters.exchange.pace import LONGEST_HOLD_SECONDS, Pace

TURNS = """
import sys, time
from pathlib import Path
from tasks.adapters.exchange.pace import Pace
path, per_second, turns = Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
pace = Pace(path, name="coinbase", requests_per_second=per_second, longest_wait_seconds=60.0)
print(time.monotonic(), flush=True)
for _ in range(turns):
    pace.wait()
    print(time.monotonic(), flush=True)
"""


def taking_turns(path: Path, per_second: float, turns: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", TURNS, str(path), str(per_second), str(turns)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def told(process: subprocess.Popen[str]) -> list[float]:
    assert process.stdout is not None
    with process, process.stdout as lines:
        moments = [float(line) for line in lines]
    assert process.returncode == 0
    return moments


def pace_of(path: Path, *, requests_per_second: float = 10_000.0, longest_wait_seconds: float = 60.0) -> Pace:
    return Pace(
        path,
        name="coinbase",
        requests_per_second=requests_per_second,
        longest_wait_seconds=longest_wait_seconds,
    )


def seconds_of_a_turn(pace: Pace) -> float:
    began = time.monotonic()
    pace.wait()
    return time.monotonic() - began


def test_two_processes_together_keep_the_rate(tmp_path: Path) -> None:
    per_second, turns = 50.0, 30
    processes = [taking_turns(tmp_path / "pace", per_second, turns) for _ in range(2)]
    moments = [told(process) for process in processes]
    began = min(one[0] for one in moments)
    sent = sorted(moment for one in moments for moment in one[1:])
    assert len(sent) == 2 * turns
    # The n-th turn of all is n intervals after the first, and nobody sends before its turn.
    assert all(moment >= began + place / per_second for place, moment in enumerate(sent))


def test_hold_is_kept_by_a_process_that_waits_already(tmp_path: Path) -> None:
    process = taking_turns(tmp_path / "pace", 100.0, 120)
    assert process.stdout is not None
    heard = [float(process.stdout.readline()) for _ in range(10)]
    pace = pace_of(tmp_path / "pace")
    began = time.monotonic()
    pace.hold(1.0)
    held = time.monotonic()
    sent = heard + told(process)
    on_its_way = 0.05  # it looked just before, and told the time just after
    assert [moment for moment in sent if held + on_its_way < moment < began + 1.0] == []
    assert sum(moment >= began + 1.0 for moment in sent) > 20
    assert pace.wait() is None


def test_hold_is_kept_by_a_thread_that_has_its_turn_already(tmp_path: Path) -> None:
    path = tmp_path / "pace"
    pace = pace_of(path, requests_per_second=4.0)
    pace.wait()
    before = path.read_bytes()
    sent: list[float] = []

    def send() -> None:
        pace.wait()
        sent.append(time.monotonic())

    sending = threading.Thread(target=send)
    sending.start()
    while path.read_bytes() == before:  # the turn is a quarter of a second away when it is taken
        pass
    held = time.monotonic()
    pace.hold(0.8)
    assert sent == []
    sending.join(60.0)
    assert len(sent) == 1
    assert sent[0] >= held + 0.8


def test_hold_waits_no_longer_than_it_is_for(tmp_path: Path) -> None:
    pace = pace_of(tmp_path / "pace")
    pace.hold(0.3)
    assert 0.2 < seconds_of_a_turn(pace) < 2.0
    assert seconds_of_a_turn(pace) < 0.2


def test_shorter_hold_does_not_end_a_longer_one(tmp_path: Path) -> None:
    pace = pace_of(tmp_path / "pace")
    pace.hold(0.4)
    pace.hold(0.0)
    assert seconds_of_a_turn(pace) > 0.3


def test_hold_that_is_too_long_to_wait_for_is_told_at_once(tmp_path: Path) -> None:
    pace = pace_of(tmp_path / "pace", longest_wait_seconds=5.0)
    pace.hold(7200.0)
    with pytest.raises(TransientError) as told_error:
        pace.wait()
    assert str(told_error.value) == (
        "coinbase wants to be left alone for 7,200 s more, which is longer than the 5 s that are waited. Try again then."
    )
    assert told_error.value.retry_after_seconds == pytest.approx(7200.0, abs=5.0)


def test_nobody_is_taken_at_its_word_for_years(tmp_path: Path) -> None:
    pace = pace_of(tmp_path / "pace", longest_wait_seconds=5.0)
    pace.hold(1e12)
    with pytest.raises(TransientError) as told_error:
        pace.wait()
    assert told_error.value.retry_after_seconds == pytest.approx(LONGEST_HOLD_SECONDS, abs=5.0)


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 200, b"{}", b"\xff" * 56, b"\0" * 56], ids=["empty", "long", "json", "ones", "zeros"]
)
def test_damaged_file_counts_as_none_and_is_mended(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "pace"
    path.write_bytes(content)
    pace = pace_of(path, requests_per_second=5.0)
    assert seconds_of_a_turn(pace) < 0.15
    assert seconds_of_a_turn(pace) > 0.15


def test_every_flipped_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "pace"
    pace = pace_of(path, longest_wait_seconds=1.0)
    pace.hold(3600.0)
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        pace.wait()
    path.write_bytes(whole)
    with pytest.raises(TransientError):
        pace.wait()


def test_moments_of_an_earlier_start_of_the_machine_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "pace"
    pace_of(path).hold(3600.0)
    start = tmp_path / "boot_id"
    start.write_text("00000000-0000-4000-8000-000000000000\n")
    monkeypatch.setattr(rooms, "_BOOT_ID", start)
    assert seconds_of_a_turn(pace_of(path, longest_wait_seconds=1.0)) < 30.0


def test_system_without_a_number_of_its_start_keeps_the_pace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms, "_BOOT_ID", tmp_path / "missing")
    pace = pace_of(tmp_path / "pace", requests_per_second=5.0)
    pace.wait()
    assert seconds_of_a_turn(pace) > 0.15


def test_folder_that_cannot_be_written_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"cannot be written \(.*\)\. Give its folder to this user\.$"):
        pace_of(tmp_path / "file" / "pace")


def test_holder_of_the_lock_that_is_suspended_is_trouble_that_may_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a BusyError: a fetch leaves a symbol for good to whoever causes one."""
    monkeypatch.setattr(rooms, "_BUSY_SECONDS", 0.1)
    path = tmp_path / "pace"
    pace = pace_of(path)
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(TransientError, match=r"has been locked for 0\.1 s, maybe by .* Try again later\.$") as told:
            pace.wait()
        assert type(told.value) is TransientError
    assert pace.wait() is None


def test_stop_ends_the_wait_at_once(tmp_path: Path) -> None:
    pace = pace_of(tmp_path / "pace")
    pace.hold(50.0)
    outcome: list[BaseException] = []

    def wait() -> None:
        try:
            pace.wait()
        except StoppedError as error:
            outcome.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    try:
        began = time.monotonic()
        request_stop()
        waiting.join(40.0)
        assert time.monotonic() - began < 30.0, "and not the 50 seconds"
        assert len(outcome) == 1
    finally:
        allow_work()
