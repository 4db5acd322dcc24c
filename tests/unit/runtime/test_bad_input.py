"""Whatever comes: no crash, no signal from bad data, and every bar has its end."""

import math
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models_lib.candles.schema import BAR_MS
from models_lib.runtime.sources import Given
from tests.bundles import walk_candles
from tests.unit.runtime.host_folders import Host, ListSource, raws_of

PAST = 1_470
RAWS = raws_of(walk_candles(PAST + 40))
CLOSES = {raw[0]: raw[4] for raw in RAWS}

GARBAGE: list[Any] = [None, "", {}, [], [1], "NaN", math.nan, math.inf, -1.0, 0.0, 1e308, True, [1.0], 10**400]


def spoiled(raw: list[Any], place: int, value: Any) -> list[Any]:
    """The bar with one value that no bar can have there; a volume of 0 can be."""
    return [
        *raw[:place],
        3.5 if place == 0 and value == 0.0 else -1.0 if place == 5 and value == 0.0 else value,
        *raw[place + 1 :],
    ]


def contradicting(raw: list[Any]) -> list[Any]:
    """High and low swapped."""
    return [raw[0], raw[1], raw[3], raw[2], raw[4], raw[5]]


def off_minute(raw: list[Any]) -> list[Any]:
    return [raw[0] + 1, *raw[1:]]


def jumped(raw: list[Any], minutes: int) -> list[Any]:
    """A clock that jumped: the same bar at another minute."""
    return [raw[0] + minutes * BAR_MS, *raw[1:]]


def dearer(raw: list[Any]) -> list[Any]:
    """A plausible bar with other values, which only counts as wrong when the minute is known already."""
    return [raw[0], raw[1], raw[2] * 1.5, raw[3], raw[4], raw[5]]


FAULTS = st.one_of(
    st.tuples(
        st.just("replace"),
        st.builds(
            lambda place, value: lambda raw: spoiled(raw, place, value), st.integers(0, 5), st.sampled_from(GARBAGE)
        ),
    ),
    st.tuples(
        st.just("replace"), st.sampled_from([contradicting, off_minute, lambda raw: "garbage", lambda raw: raw[:4]])
    ),
    st.tuples(st.just("before"), st.builds(lambda value: lambda raw: value, st.sampled_from(GARBAGE))),
    st.tuples(st.just("after"), st.sampled_from([lambda raw: raw, dearer, contradicting, off_minute])),
    st.tuples(st.just("after"), st.builds(lambda minutes: lambda raw: jumped(raw, minutes), st.integers(-400, -1))),
    st.tuples(st.just("leave out"), st.just(None)),
)


def corrupted(faults: dict[int, Any]) -> tuple[list[Any], set[int]]:
    """What the source gives, and the open times of the bars that came as they were."""
    stream: list[Any] = []
    intact: set[int] = set()
    for place, raw in enumerate(RAWS):
        how, change = faults.get(place, ("", None))
        if how == "before":
            stream.append(change(raw))
        if how not in {"replace", "leave out"}:
            stream.append(raw)
            intact.add(raw[0])
        if how in {"replace", "after"}:
            stream.append(change(raw))
    return stream, intact


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(faults=st.dictionaries(st.integers(PAST + 1, len(RAWS) - 1), FAULTS, min_size=1, max_size=6))
def test_corrupted_stream_never_crashes_and_never_speaks_from_bad_data(
    btc_bundle: Path, tmp_path: Path, faults: dict[int, Any]
) -> None:
    folder = tmp_path / "host"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    host = Host(folder)
    host.release(btc_bundle)
    stream, intact = corrupted(faults)
    first = RAWS[PAST]
    events = [Given("BTC-USD", raw, past=place < PAST) for place, raw in enumerate(stream)]
    assert stream[PAST] is first
    symbol = host.run(ListSource(events)).symbols["BTC-USD"]

    assert (symbol.errors, symbol.last_error, symbol.non_finite) == (0, None, 0)
    bad = symbol.refusals.get("bad_candle", 0)
    assert symbol.bars + bad <= len(events) - PAST  # the rest came twice, with the same values
    assert symbol.signals + sum(symbol.refusals.values()) - bad == symbol.bars
    assert symbol.bars <= len(intact) - PAST
    for signal in host.signals():
        bar_ms = int(datetime.fromisoformat(signal["bar_at"]).astimezone(UTC).timestamp() * 1000)
        assert bar_ms in intact
        assert float(signal["price"]) == CLOSES[bar_ms]
    replaced = sum(how == "replace" for how, _ in faults.values())
    assert bad >= replaced
    if replaced:
        assert symbol.refusals.get("gapped", 0) > 0 or replaced_at_the_end(faults)


def replaced_at_the_end(faults: dict[int, Any]) -> bool:
    """Whether nothing intact follows the first spoiled bar: only then no gap can have been seen."""
    first = min(place for place, (how, _) in faults.items() if how == "replace")
    return all(faults.get(place, ("", None))[0] in {"replace", "leave out"} for place in range(first, len(RAWS)))
