"""What a person sees of a run in a terminal: exactly what the library said."""

import io
import logging

import pytest

from flows.console import progress_on_stderr


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
