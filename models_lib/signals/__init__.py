"""The room of the signals: what is said about a bar, in figures and in words. Pure: no files, no clock.

What does not belong here: whether anything is said (runtime), and who is told.
"""

from models_lib.signals.build import build_signal
from models_lib.signals.reasons import MARKET_BARS, Market, market_of
from models_lib.signals.signal import Direction, Signal
from models_lib.signals.sizing import Unsized
from models_lib.signals.text import signal_text

__all__ = [
    "MARKET_BARS",
    "Direction",
    "Market",
    "Signal",
    "Unsized",
    "build_signal",
    "market_of",
    "signal_text",
]
