"""The lock with a time limit, against other processes and other threads."""

import fcntl
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from models_lib.errors import TransientError
from models_lib.locks import is_held, locked

HOLDS = """
import fcntl, sys
lock = open(sys.argv[1], "ab")
fcntl.flock(lock, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def held_elsewhere(path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process that holds the flock until its stdin is closed."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        yield other


def is_free(path: Path) -> bool:
    """Whether nobody holds the flock at this moment."""
    with path.open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def test_a_free_lock_is_taken_at_once_and_freed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    for _ in range(2):
        with locked(path, within_seconds=0.0, otherwise="busy"):
            assert not is_free(path)
        assert is_free(path)


def test_lock_of_another_process_is_seen_until_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not is_held(path)
    with held_elsewhere(path) as other:
        assert is_held(path)
        other.kill()
        other.wait()
        assert not is_held(path)


def test_who_may_write_the_file_is_what_the_operators_umask_says(tmp_path: Path) -> None:
    """Several people of one group may serve one home."""
    path, before = tmp_path / "lock", os.umask(0o002)
    try:
        with locked(path, within_seconds=0.0, otherwise="busy"):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o664


def test_who_waits_gets_it_when_the_holder_ends(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch()
    got = threading.Event()

    def take() -> None:
        with locked(path, within_seconds=60.0, otherwise="busy"):
            got.set()

    with held_elsewhere(path) as other:
        waiter = threading.Thread(target=take)
        waiter.start()
        while "waits-for-a-lock" not in {thread.name for thread in threading.enumerate()}:
            assert waiter.is_alive()
        assert not got.is_set()
        other.kill()
    waiter.join(60.0)
    assert got.is_set()


def test_a_lock_that_stays_held_is_told_and_not_taken_later(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch()
    with held_elsewhere(path) as other:
        with (
            pytest.raises(TransientError, match="busy since noon"),
            locked(path, within_seconds=0.01, otherwise="busy since noon"),
        ):
            pytest.fail("it is held elsewhere")
        (waiter,) = (thread for thread in threading.enumerate() if thread.name == "waits-for-a-lock")
        other.communicate("")
    waiter.join(60.0)
    assert not waiter.is_alive()
    with locked(path, within_seconds=0.0, otherwise="the one that gave up still holds it"):
        pass


def test_an_error_of_the_body_is_not_taken_for_a_held_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with pytest.raises(TimeoutError, match="of an endpoint"), locked(path, within_seconds=0.0, otherwise="busy"):
        raise TimeoutError("of an endpoint")
    with locked(path, within_seconds=0.0, otherwise="busy"):
        pass


def test_threads_take_turns(tmp_path: Path) -> None:
    path, inside, most = tmp_path / "lock", [], []

    def take(number: int) -> None:
        with locked(path, within_seconds=60.0, otherwise="busy"):
            inside.append(number)
            most.append(len(inside))
            inside.remove(number)

    threads = [threading.Thread(target=take, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60.0)
    assert most == [1] * 20


def test_a_child_of_the_holder_has_not_got_the_file(tmp_path: Path) -> None:
    """One that outlives a killed holder would hold the lock on."""
    path = tmp_path / "lock"
    listing = "import os\nfor name in os.listdir('/proc/self/fd'): print(os.path.realpath('/proc/self/fd/' + name))"
    with locked(path, within_seconds=0.0, otherwise="busy"):
        child = subprocess.run(
            [sys.executable, "-c", listing], stdout=subprocess.PIPE, text=True, close_fds=False, check=True
        )
    assert child.stdout
    assert str(path.resolve()) not in child.stdout.splitlines()


def test_the_end_of_the_body_frees_it_even_while_a_fork_still_has_the_file(tmp_path: Path) -> None:
    """Between fork and exec each child of any thread has it for a moment."""
    path = tmp_path / "lock"
    with locked(path, within_seconds=0.0, otherwise="busy"):
        (descriptor,) = (one for one in Path("/proc/self/fd").iterdir() if one.resolve() == path.resolve())
        of_the_fork = os.dup(int(descriptor.name))
    try:
        assert is_free(path)
    finally:
        os.close(of_the_fork)
