"""Each check against numbers worked by hand."""

from typing import get_args

import numpy as np
import pytest

from models_lib.candles.bars import Bars, Span
from models_lib.candles.cross_checks import CheckName, Checks, cross_check
from models_lib.candles.schema import BAR_MS, VALUE_COLUMNS, epoch_ms
from models_lib.candles.sources import read_parquet
from models_lib.config import ExchangeSection

NINE = 1_767_258_000_000
"""2026-01-01T09:00Z."""
DAY_MS = 1_440 * BAR_MS
ALONE = ExchangeSection()
BESIDE_BINANCE = ExchangeSection(second="binance", second_markets={"BTC-USD": "BTC/USDT"})


def bars(closes, *, volumes=2.0, start=NINE, minutes=None, wick=0.5) -> Bars:
    """Bars that open at their close, with a wick on each side; in adjacent minutes unless given."""
    closes = np.asarray(closes, dtype=float)
    numbers = np.arange(closes.size) if minutes is None else np.asarray(minutes)
    values = np.stack([closes, closes + wick, closes - wick, closes, np.broadcast_to(volumes, closes.shape)], axis=1)
    return Bars(start + numbers * BAR_MS, values)


def checked(
    first: Bars, second: Bars | None = None, past: Bars | None = None, section=BESIDE_BINANCE, **kwargs
) -> Checks:
    return cross_check("BTC-USD", first, second, past or Bars.none(), section, **kwargs)


def one(checks: Checks, name: str):
    return next(check for check in checks.checks if check.name == name)


def test_every_check_is_always_there_and_says_why_it_was_not_measured():
    checks = checked(Bars.none(), section=ALONE)
    assert tuple(check.name for check in checks.checks) == get_args(CheckName)
    assert all(check.value is None and not check.alarm and "not measured" in check.words for check in checks.checks)
    assert "no second exchange is configured" in checks.checks[0].words
    assert checks.alarms == ()


def test_closes_two_exchanges_apart_are_measured_in_basis_points_of_the_second():
    # 59 minutes at 10,010 against 10,000 are 10 bp; two at 10,000 are 0; one at 9,900 is 100 bp.
    first = bars([10_010.0] * 59 + [10_000.0, 10_000.0, 9_900.0])
    checks = checked(first, bars([10_000.0] * 62))
    median, worst = checks.checks[:2]
    assert median.value == pytest.approx(10.0, abs=1e-9)
    assert not one(checked(first, bars([10_000.0] * 62), section=BESIDE_BINANCE), "worst_deviation").alarm
    assert "coinbase BTC/USD and binance BTC/USDT" in median.words
    assert "62 common minutes" in median.words
    assert worst.value == pytest.approx(100.0)
    assert "9900 and 10000 at 2026-01-01T10:01Z" in worst.words


def test_closes_beyond_the_limits_alarm_and_name_the_setting():
    section = BESIDE_BINANCE.model_copy(update={"max_median_deviation_bp": 9.0, "max_worst_deviation_bp": 99.0})
    checks = checked(bars([10_010.0] * 61 + [9_900.0]), bars([10_000.0] * 62), section=section)
    assert [check.name for check in checks.alarms] == ["median_deviation", "worst_deviation"]
    assert "(at most 9)" in checks.alarms[0].words
    assert "exchange.max_median_deviation_bp" in checks.alarms[0].words
    assert "exchange.max_worst_deviation_bp" in checks.alarms[1].words
    assert "are 100.0 bp apart in the worst of 62 common minutes (at most 99)" in checks.alarms[1].words


def test_closes_only_minutes_that_both_have_are_compared():
    # The second one lacks the odd minutes, and has minutes before; the first's odd minutes would be 50 % away.
    first = bars([100.0, 150.0] * 60)
    second = bars([100.0] * 80, minutes=[*range(-40, -20), *range(0, 120, 2)])
    median, worst = checked(first, second).checks[:2]
    assert (median.value, worst.value) == (0.0, 0.0)
    assert "60 common minutes" in median.words


def test_closes_of_59_common_minutes_are_not_measured():
    checks = checked(bars([100.0] * 120), bars([999.0] * 59))
    assert checks.checks[0].value is None
    assert "59 common minutes (at least 60 needed)" in checks.checks[0].words
    assert checks.alarms == ()


def test_a_second_exchange_without_an_answer_is_said():
    assert "binance gave no candles" in checked(bars([100.0] * 120), None).checks[0].words


def test_stuck_price_counts_traded_minutes_with_four_equal_prices():
    closes = [100.0, 101.0, *[102.0] * 5, 103.0]
    stuck = one(checked(bars(closes, wick=0.0)), "stuck_price")
    assert (stuck.value, stuck.alarm) == (5.0, False)
    assert "102 from 2026-01-01T09:02Z" in stuck.words


@pytest.mark.parametrize(("minutes", "alarm"), [(29, False), (30, True)])
def test_stuck_price_alarms_at_the_limit(minutes, alarm):
    stuck = one(checked(bars([99.0, *[100.0] * minutes], wick=0.0)), "stuck_price")
    assert (stuck.value, stuck.alarm) == (float(minutes), alarm)
    assert ("exchange.max_stuck_minutes" in stuck.words) == alarm


def test_stuck_price_is_not_ended_by_minutes_without_trades():
    # Three traded minutes at 100, an untraded one at 100, a missing one, two traded ones at 100: five in a row.
    first = bars(
        [100.0] * 6 + [101.0], volumes=[1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0], minutes=[0, 1, 2, 3, 5, 6, 7], wick=0.0
    )
    assert one(checked(first), "stuck_price").value == 5.0


def test_stuck_price_needs_bars_that_did_not_move_inside_either():
    assert one(checked(bars([100.0] * 100, wick=0.5)), "stuck_price").value == 0.0


def test_jump_names_both_closes_and_the_time():
    # 100 to 112 is 1,200 bp; 112 to 100 is 12 / 112, 1,071 bp.
    jump = one(checked(bars([100.0, 112.0, 100.0]), bars([100.0, 111.0, 100.0])), "jump")
    assert (jump.value, jump.alarm) == (pytest.approx(1_200.0), True)
    assert "100 to 112 at 2026-01-01T09:01Z, where binance has 111" in jump.words
    assert "in 2 minutes" in jump.words
    assert "bars are kept" in jump.words


def test_jump_does_not_reach_across_a_hole_and_does_reach_into_the_past():
    assert one(checked(bars([100.0, 200.0, 201.0], minutes=[0, 2, 3])), "jump").value == pytest.approx(50.0)
    before = bars([100.0], start=NINE - BAR_MS)
    assert one(checked(bars([150.0, 150.0]), past=before), "jump").value == pytest.approx(5_000.0)
    assert one(checked(bars([150.0, 150.0]), past=bars([100.0], start=NINE - 2 * BAR_MS)), "jump").value == 0.0


def test_volume_in_the_quote_currency_is_recognised_by_the_price():
    # 2 BTC a minute at 50,000, counted in USD: 100,000 against 3 of the other: 100,000 / 3 = 33,333 times.
    first = bars([50_000.0] * 60, volumes=100_000.0)
    volume = one(checked(first, bars([50_000.0] * 60, volumes=3.0)), "volume_beside_second")
    assert (volume.value, volume.alarm) == (pytest.approx(100_000 / 3), True)
    assert "counted in the quote currency instead of the base coin" in volume.words
    assert "in the median, 33,333 times that of binance" in volume.words, "nobody reads 3.33e+04 at night"
    turned = one(checked(bars([50_000.0] * 60, volumes=3.0), first), "volume_beside_second")
    assert (turned.value, turned.alarm) == (pytest.approx(100_000 / 3), True)
    assert "the other volume is likely counted in the quote currency" in turned.words


def test_volume_in_units_of_another_size_is_recognised_by_the_power_of_ten():
    past = bars([50.0] * 100, volumes=2.0, start=NINE - 100 * BAR_MS)
    volume = one(checked(bars([50.0] * 60, volumes=2e8), past=past), "volume_beside_past")
    assert (volume.value, volume.alarm) == (pytest.approx(1e8), True)
    assert "10^8" in volume.words


def test_volume_far_off_without_a_usual_cause_says_so():
    # 31.6 is as far from 10^2 as from nothing, and from the price of 40,000.
    past = bars([40_000.0] * 60, volumes=1.0, start=NINE - 60 * BAR_MS)
    volume = one(checked(bars([40_000.0] * 60, volumes=31.6), past=past), "volume_beside_past")
    assert volume.alarm
    assert "No usual mix-up" in volume.words


@pytest.mark.parametrize(("volume", "alarm"), [(19.9, False), (20.1, True), (1 / 19.9, False), (1 / 20.1, True)])
def test_volume_beside_the_past_alarms_beyond_twenty_times_either_way(volume, alarm):
    past = bars([50.0] * 60, volumes=1.0, start=NINE - 60 * BAR_MS)
    assert one(checked(bars([50.0] * 60, volumes=volume), past=past), "volume_beside_past").alarm is alarm


def test_volume_leaves_out_minutes_without_trades():
    volumes = np.where(np.arange(120) % 2, 0.0, 2.0)
    past = bars([50.0] * 60, volumes=2.0, start=NINE - 60 * BAR_MS)
    assert one(checked(bars([50.0] * 120, volumes=volumes), past=past), "volume_beside_past").value == pytest.approx(
        1.0
    )


def test_changed_bars_alarm_and_an_unchanged_fetch_is_said():
    assert (
        one(checked(bars([1.0]), changed=()), "changed").words
        == "0 stored bars came back with other values (0 expected)"
    )
    changed = one(checked(bars([1.0]), changed=(NINE + BAR_MS, NINE)), "changed")
    assert (changed.value, changed.alarm) == (2.0, True)
    assert "the first at 2026-01-01T09:00Z" in changed.words
    assert "previous fetch: not measured, nothing was fetched twice" in one(checked(bars([1.0])), "changed").words


def test_checks_are_plain_json():
    checks = checked(bars([100.0, 112.0]))
    assert checks.to_json()[3] == {
        "name": "jump",
        "value": pytest.approx(1_200.0),
        "limit": 1_000.0,
        "alarm": True,
        "words": checks.checks[3].words,
    }


def test_no_day_of_real_candles_alarms(real_candles):
    """What cries wolf is switched off: every tenth day of two years, beside the four weeks before it."""
    frame = read_parquet(real_candles / "spot-2y" / "BTC-USD.parquet", symbol="BTC-USD")
    archive = Bars(epoch_ms(frame), frame[list(VALUE_COLUMNS)].to_numpy(dtype=np.float64))
    midnight = int(archive.stamps[0]) // DAY_MS * DAY_MS
    days = range(midnight + 28 * DAY_MS, int(archive.stamps[-1]) - DAY_MS, 10 * DAY_MS)
    assert len(days) == 71
    for day in days:
        newest = archive.within(Span(day, day + DAY_MS))
        checks = checked(newest, past=archive.within(Span(day - 28 * DAY_MS, day)), section=ALONE)
        assert checks.alarms == ()
        assert {check.name for check in checks.checks if check.value is not None} >= {
            "stuck_price",
            "jump",
            "volume_beside_past",
        }
