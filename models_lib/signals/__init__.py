"""The room of the signals: what is said about a bar, in figures and in words. Pure: no files, no clock.

What does not belong here: whether anything is said (runtime), and who is told.
"""

from models_lib.signals.signal import Direction, Signal

__all__ = ["Direction", "Signal"]
