"""The bar of a training on a real Prefect server: it moves, ends at 100, stays where a failed one stopped, never waits."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytestmark = [pytest.mark.prefect, pytest.mark.xdist_group("prefect")]

LIBRARY = logging.getLogger("models_lib.steps.train")


@pytest.fixture
def trains(prefect: None) -> Iterator[Callable[[Callable[[], None]], Any]]:
    """Runs a task whose training is the given body; returns its state."""
    from prefect import flow, task

    from tasks.ui.progress import training_in_the_ui

    logging.getLogger("prefect").setLevel(logging.CRITICAL)

    def run(body: Callable[[], None]) -> Any:
        @task
        def train() -> None:
            with training_in_the_ui("BTC-USD"):
                body()

        @flow
        def outer() -> Any:
            return train(return_state=True)

        return outer(return_state=True)

    library = logging.getLogger("models_lib")
    level = library.level
    library.setLevel(logging.INFO)
    yield run
    library.setLevel(level)
    assert not [handler for handler in logging.getLogger("models_lib").handlers if "Epochs" in type(handler).__name__]


def epoch(number: int, symbol: str = "BTC-USD") -> None:
    LIBRARY.info("epoch %d of at most 4", number, extra={"symbol": symbol, "done": number, "total": 4})


def bars_of(state: Any) -> list[tuple[float, str]]:
    """Percent and description of every progress artifact of the flow run."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

    async def ask() -> list[tuple[float, str]]:
        async with get_client() as client:
            run = state.state_details.flow_run_id
            only = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run]))
            found = await client.read_artifacts(artifact_filter=only)
            return [(item.data, item.description) for item in found if item.type == "progress"]

    return asyncio.run(ask())


def test_bar_moves_with_each_epoch_and_ends_full(trains: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks.ui import progress

    told: list[float] = []
    heard = threading.Event()
    update = progress.update_progress_artifact

    def listen(artifact: Any, percent: float, **more: Any) -> Any:
        answer = update(artifact, percent, **more)
        told.append(percent)
        heard.set()
        return answer

    monkeypatch.setattr(progress, "update_progress_artifact", listen)

    def body() -> None:
        epoch(1)
        epoch(3, symbol="ETH-USD")
        LIBRARY.info("no epoch", extra={"symbol": "BTC-USD"})
        while not told:  # the first epoch makes the bar, a later one moves it
            epoch(2)
            heard.wait(0.05)

    assert bars_of(trains(body)) == [(100, "BTC-USD: trained; the last was epoch 2 of at most 4")]
    assert told[0] == 50
    assert told[-1] == 100


def test_bar_of_a_failed_training_stays_where_it_stopped(trains: Callable[..., Any]) -> None:
    def body() -> None:
        epoch(1)
        raise ValueError("loss is not finite")

    state = trains(body)
    assert state.is_failed()
    assert bars_of(state) == [(25, "BTC-USD: epoch 1 of at most 4")]


def test_training_that_was_finished_before_has_no_bar(trains: Callable[..., Any]) -> None:
    assert bars_of(trains(lambda: None)) == []


def test_server_that_does_not_answer_never_holds_up_the_training(
    trains: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.ui import progress

    asked, answer = threading.Event(), threading.Event()

    def hang(*_: object, **__: object) -> None:
        asked.set()
        answer.wait(60)
        raise ConnectionError("nobody there")

    monkeypatch.setattr(progress, "create_progress_artifact", hang)
    monkeypatch.setattr(progress, "_LAST_WORD_SECONDS", 0.1)
    took: list[float] = []

    def body() -> None:
        began = time.monotonic()
        epoch(1)
        assert asked.wait(30)
        for number in (2, 3, 4):
            epoch(number)
        took.append(time.monotonic() - began)

    try:
        assert trains(body).is_completed()
    finally:
        answer.set()
    assert took[0] < 30


def test_outside_a_task_run_nothing_is_asked_of_prefect(monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks.ui import progress

    before = threading.active_count()
    with progress.training_in_the_ui("BTC-USD"):
        epoch(1)
        assert threading.active_count() == before
