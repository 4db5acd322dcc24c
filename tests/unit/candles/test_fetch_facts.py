"""What is said about candles that were fetched from an exchange."""

from models_lib.candles.cross_checks import Check, Checks
from models_lib.candles.fetch_facts import FetchFacts, KnownHole
from models_lib.candles.sources import OnlyCandles, load_candles
from models_lib.config import DataSection
from tests.bad_candles import good_candles

NINE = 1_767_258_000_000
"""2026-01-01T09:00Z."""
ALARM = Check(name="jump", value=1_200.0, limit=1_000.0, alarm=True, words="the largest change is 1,200 bp")
QUIET = Check(name="stuck_price", value=2.0, limit=29.0, alarm=False, words="2 traded minutes in a row")
FACTS = FetchFacts(
    exchange="coinbase",
    market="BTC/USD",
    volume_unit="BTC",
    holes=(
        KnownHole(NINE, 2, "no trades"),
        KnownHole(NINE + 600_000, 90, "outage"),
        KnownHole(NINE + 12_000_000, 3, "no trades"),
        KnownHole(NINE + 24_000_000, 1_000, "not fetched"),
    ),
    checks=Checks("BTC-USD", (QUIET, ALARM)),
    corrections=4,
    skew_ms=-120.5,
)


class Fetched(OnlyCandles):
    """A market whose source knows more than its candles."""

    def fetch(self, symbol):
        return good_candles()

    def origin(self, symbol):
        return f"coinbase {symbol}"

    def content(self, symbol):
        return None

    def facts(self, symbol):
        return FACTS

    def remarks(self, symbol):
        return FACTS.remarks


def test_holes_are_counted_by_their_cause():
    assert FACTS.holes_by_cause == {
        "no trades": {"holes": 2, "minutes": 5},
        "outage": {"holes": 1, "minutes": 90},
        "not fetched": {"holes": 1, "minutes": 1_000},
    }


def test_remarks_are_the_alarms_and_what_was_never_fetched():
    unasked = "1,000 minutes in 1 holes were never asked of coinbase, the first at 2026-01-01T15:40Z. Run crpbot fetch"
    assert FACTS.remarks == (ALARM.words, unasked)
    assert FetchFacts(exchange="kraken", market="BTC/USD", volume_unit="BTC").remarks == ()


def test_report_of_fetched_candles_carries_remarks_holes_and_checks():
    _, report = load_candles(Fetched(), "BTC-USD", DataSection(), now=None)
    told = report.to_json()
    assert report.warnings[-2:] == FACTS.remarks
    assert told["fetched"]["holes"][0] == {"start": "2026-01-01T09:00Z", "minutes": 2, "cause": "no trades"}
    assert told["fetched"]["checks"] == [QUIET.to_json(), ALARM.to_json()]
    assert (told["fetched"]["market"], told["fetched"]["corrections"], told["fetched"]["skew_ms"]) == (
        "BTC/USD",
        4,
        -120.5,
    )


def test_report_of_other_candles_says_that_nobody_was_asked():
    class Plain(Fetched):
        facts, remarks = OnlyCandles.facts, OnlyCandles.remarks

    _, report = load_candles(Plain(), "BTC-USD", DataSection(), now=None)
    assert (report.warnings, report.to_json()["fetched"]) == ((), None)
