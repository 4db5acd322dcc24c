"""The nightly piece: alarms first, every symbol named, numbers as the runtime measured them."""

from models_lib.reports.live import live_piece
from models_lib.runtime.figures import Alarm, LiveFigures, Measured, RowFigures, SignalFigures
from tests.unit.runtime.examples import BUNDLE, T0

ALARM = Alarm(figure="accuracy", since=T0, sentence="BTC-USD: accuracy is 60.0 % to 62.0 %.")
LIVE = LiveFigures(
    mode="live",
    bundle=BUNDLE,
    until=T0,
    own=RowFigures(rows=1_840, accuracy=Measured(value=0.709, interval=(0.68, 0.73)), ece=Measured(value=0.021)),
    recent=RowFigures(rows=1_840),
    test=RowFigures(rows=10_000, accuracy=Measured(value=0.714)),
    signals=SignalFigures(scored=12, target=4, stop=6, expired=2),
)


def test_a_symbol_is_one_line_with_its_figures() -> None:
    piece = live_piece({"ETH-USD": None, "BTC-USD": LIVE})
    assert piece.markdown == (
        "**BTC-USD**: live 1,840 bars: accuracy 70.9 % (test 71.4 %, interval 68.0 % to 73.0 %), "
        "ECE 0.021 (test not measured), edge after costs not measured (test not measured, interval not measured); "
        f"12 signals: 4 target, 6 stop, 2 expired (until 2026-01-01 00:00 UTC, bundle `{BUNDLE[:12]}`)\n\n"
        "**ETH-USD**: nothing measured yet"
    )
    assert piece.description.endswith("no alarms")


def test_an_alarm_stands_first_and_once() -> None:
    piece = live_piece({"BTC-USD": LIVE.model_copy(update={"alarms": (ALARM,)})})
    assert piece.markdown.startswith("**ALARM** since 2026-01-01 00:00 UTC: BTC-USD: accuracy is 60.0 % to 62.0 %.")
    assert piece.markdown.count("60.0 %") == 1
    assert piece.description.endswith("1 alarm")
