"""Threads with a limit: each answers once, a hung one gives up its place, and nobody waits for it at the end."""

import subprocess
import sys
import threading

from flows.limited_threads import LimitedThreads

GIVEN_UP = "given up"


def threads(places: int, *, limit_seconds: float = 60.0) -> LimitedThreads:
    return LimitedThreads(places, limit_seconds=limit_seconds, given_up=GIVEN_UP)


def test_calls_answer_with_results_and_errors_no_more_at_once_than_places() -> None:
    together, most, change = 0, 0, threading.Lock()
    met = threading.Barrier(2, timeout=30)

    def call(number: int) -> int:
        nonlocal together, most
        with change:
            together += 1
            most = max(most, together)
        met.wait()
        with change:
            together -= 1
        return 12 // number

    with threads(2) as pool:
        answers = [pool.submit(call, number) for number in (1, 2, 0, 3)]
    assert [answer.result() for answer in answers if answer.exception() is None] == [12, 6, 4]
    assert isinstance(answers[2].exception(), ZeroDivisionError)
    assert most == 2


def test_hung_call_is_given_up_its_place_goes_to_the_next_and_a_late_answer_is_not_heard() -> None:
    hang, back = threading.Event(), threading.Event()

    def hangs() -> str:
        hang.wait(60)
        back.set()
        return "late"

    pool = threads(1, limit_seconds=0.2)
    hung, queued = pool.submit(hangs), pool.submit(lambda: "quick")
    assert hung.result(timeout=30) == GIVEN_UP
    assert queued.result(timeout=30) == "quick"
    pool.shutdown(wait=True, cancel_futures=True)
    hang.set()
    assert back.wait(30)
    assert hung.result() == GIVEN_UP


def test_shutdown_cancels_what_waits_and_waits_for_what_works() -> None:
    go_on, pool = threading.Event(), threads(1)
    working, waiting = pool.submit(go_on.wait, 30), pool.submit(lambda: "never")
    threading.Timer(0.1, go_on.set).start()
    pool.shutdown(wait=True, cancel_futures=True)
    assert working.result(timeout=0) is True
    assert waiting.cancelled()


def test_process_ends_although_a_thread_hangs() -> None:
    script = """
import threading
from flows.limited_threads import LimitedThreads
pool = LimitedThreads(1, limit_seconds=0.1, given_up="given up")
lock = threading.Lock()
lock.acquire()
print(pool.submit(lock.acquire).result())
pool.shutdown()
"""
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=120)
    assert (said.returncode, said.stdout) == (0, "given up\n"), said.stderr
