"""Threads that may be left alone: one that hangs costs its own symbol, not the run.

Python cannot end a thread that is stuck in a system call or a lock, and Prefect's `timeout_seconds` does not try: it
waits for the thread. So a thread that works longer than its limit is given up: its answer is an error, its place goes to
the next symbol, and because it is a daemon the process can end all the same. Should it ever come to life again, it begins
no further step (models_lib.steps.clock).

Trainings have a process and a limit of their own; requests to others have a limit at the socket.

What does not belong here: how long a symbol may take, and what becomes of one that was given up (fan_out.py).
"""

import threading
from collections import deque
from collections.abc import Callable
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Self

from prefect.task_runners import ThreadPoolTaskRunner

from models_lib.errors import TrainingError

_LONGEST_MARGIN_SECONDS = 60.0
"""Covers that a symbol's clock starts later than its thread, and a step that was begun just in time."""


class LimitedThreadsTaskRunner(ThreadPoolTaskRunner[Any]):
    """Prefect's thread runner over `LimitedThreads`.

    Args:
        max_workers: tasks at once.
        limit_minutes: after which a task is given up; its future then answers with a TrainingError.
    """

    def __init__(self, max_workers: int, *, limit_minutes: float) -> None:
        super().__init__(max_workers=max_workers)
        self._places = max_workers
        self._limit_minutes = limit_minutes

    def duplicate(self) -> Self:
        """The same once more, as Prefect asks for it."""
        return type(self)(self._places, limit_minutes=self._limit_minutes)

    def __enter__(self) -> Self:
        super().__enter__()
        minutes = self._limit_minutes
        # The symbol's own clock refuses to begin a step after the limit; only what hangs beyond that is given up.
        limit_seconds = minutes * 60.0
        margin_seconds = min(_LONGEST_MARGIN_SECONDS, limit_seconds / 2)
        reason = (
            f"it took longer than {minutes:g} minutes (orchestration.symbol_time_limit_minutes) and was given up; the last "
            f"step that it began hangs. Its finished steps are kept: find out what it waits for, then run again."
        )
        self._executor = LimitedThreads(
            self._places, limit_seconds=limit_seconds + margin_seconds, given_up=TrainingError(reason)
        )
        return self


class LimitedThreads(ThreadPoolExecutor):
    """An executor of daemon threads, one a call, each with a time limit.

    Args:
        places: calls at once; one that is given up frees its place.
        limit_seconds: of a call, from its start.
        given_up: the result of a call that takes longer.
    """

    def __init__(self, places: int, *, limit_seconds: float, given_up: object) -> None:
        super().__init__(max_workers=places)  # whose own threads are never started
        self._free = places
        self._limit_seconds = limit_seconds
        self._given_up = given_up
        self._waiting: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._working: set[Future[Any]] = set()
        self._change = threading.Lock()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """The future of the call, which begins as soon as a place is free."""
        future: Future[Any] = Future()
        with self._change:
            self._waiting.append((future, lambda: fn(*args, **kwargs)))
            self._fill_places()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """As `Executor.shutdown`, but nobody waits for a call that was given up."""
        with self._change:
            if cancel_futures:
                for future, _ in self._waiting:
                    future.cancel()
                self._waiting.clear()
            working = set(self._working)
        if wait:
            futures.wait(working)

    def _fill_places(self) -> None:
        while self._free and self._waiting:
            future, call = self._waiting.popleft()
            if not future.set_running_or_notify_cancel():
                continue
            self._free -= 1
            self._working.add(future)
            limit = threading.Timer(self._limit_seconds, self._give_up, (future,))
            limit.daemon = True
            limit.start()
            threading.Thread(target=self._work, args=(future, call, limit), name="symbol", daemon=True).start()

    def _work(self, future: "Future[Any]", call: Callable[[], Any], limit: threading.Timer) -> None:
        try:
            answer = call()
        except BaseException as error:  # noqa: BLE001  it is the future's answer, as in every executor
            self._settle(future, partial(future.set_exception, error))
        else:
            self._settle(future, partial(future.set_result, answer))
        finally:
            limit.cancel()

    def _give_up(self, future: "Future[Any]") -> None:
        self._settle(future, partial(future.set_result, self._given_up))

    def _settle(self, future: "Future[Any]", answer: Callable[[], None]) -> None:
        """Answers once: whoever comes second, the call or its limit, changes nothing."""
        with self._change:
            if future not in self._working:
                return
            self._working.remove(future)
            self._free += 1
            self._fill_places()
        answer()
