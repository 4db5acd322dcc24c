"""What a person sees of a run in a terminal: exactly what the library said."""

import io
import logging

import pytest

from flows.console import fetching_on_stderr, progress_on_stderr
from models_lib.candles.fetching import Progress


class Terminal(io.StringIO):
    """A standard error that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("said", ["window [x] of [bold]", "ends with [/b]", "a [/red] b"])
@pytest.mark.parametrize("level", [logging.INFO, logging.WARNING])
@pytest.mark.parametrize("symbol", [None, "BTC-USD"])
def test_brackets_of_the_library_are_shown_and_never_obeyed(
    monkeypatch: pytest.MonkeyPatch, said: str, level: int, symbol: str | None
) -> None:
    terminal = Terminal()
    for name, value in {"TERM": "xterm", "COLUMNS": "200", "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stderr", terminal)
    with progress_on_stderr():
        logging.getLogger("models_lib.steps").log(level, said, extra={"symbol": symbol} if symbol else {})
    assert said in terminal.getvalue()


def test_terminal_shows_how_far_a_fetch_is_and_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    for name, value in {"TERM": "xterm", "COLUMNS": "200", "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stderr", terminal)
    with fetching_on_stderr() as tell:
        tell(Progress("BTC-USD", done=600, total=2_400, requests=2, minutes_a_second=300.0, seconds_left=12.0))
    assert "BTC-USD" in terminal.getvalue()
    assert "600 of 2,400 minutes (25%), 300 a second, 0:12 left" in terminal.getvalue()


def test_elsewhere_a_short_fetch_says_nothing_and_a_long_one_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = iter([100.0, 101.0, 106.0, 107.0])
    monkeypatch.setattr("time.monotonic", lambda: next(seconds))
    with fetching_on_stderr() as tell:
        for done in (100, 200, 300, 400):
            tell(Progress("BTC-USD", done=done, total=400, requests=1, minutes_a_second=10.0, seconds_left=None))
    assert capsys.readouterr().err == "BTC-USD: 300 of 400 minutes (75%), 10 a second\n"
