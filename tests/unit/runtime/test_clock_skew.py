"""The exchange's clock beside the host's in health.json, and when it is warned of."""

import logging
from pathlib import Path

import pytest

from models_lib.deployment.look import look_at_folder
from models_lib.runtime.sources import ClockSkew
from models_lib.status import live_lines
from tests.unit.runtime.host_folders import NOW, Host, ListSource

FINE, BEHIND, AHEAD = ClockSkew(40.0, 30.0), ClockSkew(5_200.0, 100.0), ClockSkew(-5_200.0, 100.0)


def test_skew_stands_in_the_health_with_its_uncertainty(host: Host) -> None:
    health = host.run(ListSource([BEHIND, FINE]), symbols=())
    assert (health.exchange_clock_skew_ms, health.exchange_clock_uncertain_ms) == (40.0, 30.0)
    assert health.exchange_clock_measured_at == NOW
    assert health.clock_warning is None


def test_source_without_a_clock_says_nothing_of_it(host: Host) -> None:
    health = host.run(ListSource([]), symbols=())
    assert (health.exchange_clock_skew_ms, health.clock_warning) == (None, None)


@pytest.mark.parametrize(("skew", "side"), [(BEHIND, "behind the exchange's"), (AHEAD, "ahead of the exchange's")])
def test_skew_above_the_tolerance_is_warned_of_once(
    host: Host, caplog: pytest.LogCaptureFixture, skew: ClockSkew, side: str
) -> None:
    with caplog.at_level(logging.WARNING):
        health = host.run(ListSource([skew, skew]), symbols=(), clock_tolerance_seconds=2.0)
    assert health.clock_warning is not None
    assert f"this host's clock is 5.2 s {side}, known to within 0.1 s (at most 2 s allowed)" in health.clock_warning
    assert [record.message for record in caplog.records] == [health.clock_warning]


def test_status_says_the_warning_beside_what_the_symbol_did(host: Host, btc_bundle: Path) -> None:
    host.release(btc_bundle)
    host.run(ListSource([BEHIND]))
    (line,) = live_lines({"tokyo": look_at_folder(host.folder)}, "BTC-USD").values()
    assert "0 bars, 0 signals" in line
    assert "this host's clock is 5.2 s behind" in line
    host.run(ListSource([FINE]))
    assert "clock" not in live_lines({"tokyo": look_at_folder(host.folder)}, "BTC-USD")["tokyo"]


def test_skew_that_may_be_below_the_tolerance_is_not(host: Host) -> None:
    """2.5 s, give or take 0.6 s, may be 1.9 s."""
    assert host.run(ListSource([ClockSkew(2_500.0, 600.0)]), symbols=()).clock_warning is None
    assert host.run(ListSource([ClockSkew(2_500.0, 400.0)]), symbols=()).clock_warning is not None
