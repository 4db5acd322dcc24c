"""Peak memory of a block of work, of this process and of the child at work for it; sizes are known, what is around is not."""

import subprocess
import sys

import numpy as np
import pytest

from models_lib.memory import PeakMemory, look_at_child

MIB = 2**20
SLACK_MB = 24.0
"""What the interpreter and the tests' threads may take or give back meanwhile."""


def touched(mib: int) -> "np.ndarray":
    """So many MiB whose pages are in memory; the system takes them back when it is dropped."""
    return np.ones(mib * MIB // 8)


def test_peak_is_what_the_block_took_and_gave_back() -> None:
    with PeakMemory("BTC-USD") as before:
        pass
    with PeakMemory("BTC-USD") as peak:
        touched(256)
    assert peak.mb - before.mb == pytest.approx(256.0, abs=SLACK_MB)


def test_what_was_taken_before_the_block_and_given_back_does_not_count() -> None:
    with PeakMemory("BTC-USD") as before:
        touched(256)
    with PeakMemory("BTC-USD") as peak:
        pass
    assert before.mb - peak.mb == pytest.approx(256.0, abs=SLACK_MB)


def test_blocks_that_overlap_both_see_what_was_taken_while_they_were_open() -> None:
    with PeakMemory("BTC-USD") as outer:
        touched(256)
        with PeakMemory("ETH-USD") as inner:
            touched(128)
    assert outer.mb - inner.mb == pytest.approx(128.0, abs=SLACK_MB)


def test_peak_is_kept_when_the_block_raises() -> None:
    peak = PeakMemory("BTC-USD")
    with pytest.raises(KeyError), peak:
        raise KeyError
    assert peak.mb > 0.0


def test_child_counts_for_its_own_symbol_and_with_its_largest_figure() -> None:
    program = "import sys; x = bytearray(b'1') * (96 * 2**20); print(len(x)); del x; print(); sys.stdin.read()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with (
        PeakMemory("BTC-USD") as own,
        PeakMemory("ETH-USD") as other,
        subprocess.Popen([sys.executable, "-c", program], **pipes) as child,
    ):
        assert child.stdout is not None
        child.stdout.readline()
        child.stdout.readline()  # its memory is given back by now
        look_at_child("BTC-USD", child.pid)
        child.communicate(b"")
        look_at_child("BTC-USD", child.pid)  # gone: adds nothing
    assert 96.0 < own.child_mb < 96.0 + SLACK_MB
    assert other.child_mb == 0.0
    assert own.mb == own.own_mb + own.child_mb
