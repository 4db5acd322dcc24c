"""Pages that outlive a kill, and what is left of one that was being written."""

import errno
import os
import resource
import signal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models_lib.candles.archive.journal import Journal
from models_lib.candles.archive.page import Page
from models_lib.files import write_bytes
from tests.archived import page

PAGES = [page(0, 5), page(5, 5, []), page(3, 9, troubled=True, received=7), page(20, 300)]


def same(one: Page, other: Page) -> bool:
    facts = (one.span, one.closed_ms, one.received_ms, one.troubled)
    return facts == (other.span, other.closed_ms, other.received_ms, other.troubled) and one.bars.same_as(other.bars)


def opened(path: Path, about: str = "coinbase BTC/USD") -> list[Page]:
    journal = Journal(path, about=about)
    journal.close()
    return journal.recovered


def written(path: Path) -> list[int]:
    """The file's length before the first page and after each."""
    journal = Journal(path, about="coinbase BTC/USD")
    ends = [path.stat().st_size]
    for one in PAGES:
        journal.append(one)
        ends.append(path.stat().st_size)
    journal.close()
    return ends


def test_what_was_written_is_there_to_the_bit_at_the_next_opening(tmp_path: Path) -> None:
    written(tmp_path / "deep" / "journal")
    for _ in range(2):
        found = opened(tmp_path / "deep" / "journal")
        assert all(same(one, other) for one, other in zip(found, PAGES, strict=True))


def test_an_emptied_journal_is_empty_and_goes_on(tmp_path: Path) -> None:
    written(tmp_path / "journal")
    journal = Journal(tmp_path / "journal", about="coinbase BTC/USD")
    journal.empty()
    journal.append(PAGES[2])
    journal.close()
    (found,) = opened(tmp_path / "journal")
    assert same(found, PAGES[2])


def test_pages_of_another_market_are_dropped_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    written(tmp_path / "journal")
    assert opened(tmp_path / "journal", about="coinbase BTC/USDT") == []
    assert "held pages of another market" in caplog.text
    assert opened(tmp_path / "journal") == []


def test_cut_off_at_any_byte_the_whole_pages_before_it_are_there(tmp_path: Path) -> None:
    ends = written(tmp_path / "whole")
    content = (tmp_path / "whole").read_bytes()
    cuts = {*range(ends[2] + 200), *(end + step for end in ends for step in (-1, 0, 1)), len(content) - 1}
    for cut in sorted(cut for cut in cuts if cut <= len(content)):
        path = tmp_path / "torn"
        path.write_bytes(content[:cut])
        found = opened(path)
        expected = [one for one, end in zip(PAGES, ends[1:], strict=True) if end <= cut]
        assert all(same(one, other) for one, other in zip(found, expected, strict=True)), cut
        assert len(opened(path)) == len(expected)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_garbage_never_becomes_a_page(tmp_path: Path, data: st.DataObject) -> None:
    """Bytes are changed, or follow the last page: what is found is a beginning of what was written."""
    whole = tmp_path / "whole"
    if not whole.exists():
        written(whole)
    content = bytearray(whole.read_bytes())
    if data.draw(st.booleans()):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] ^= data.draw(st.integers(1, 255))
    content += data.draw(st.binary(max_size=100))
    path = tmp_path / "damaged"
    path.write_bytes(content)
    found = opened(path)
    assert all(same(one, other) for one, other in zip(found, PAGES, strict=False))
    journal = Journal(path, about="coinbase BTC/USD")
    journal.append(PAGES[0])
    journal.close()
    assert same(opened(path)[-1], PAGES[0])


def test_a_page_that_finds_no_room_leaves_the_journal_as_it_was(tmp_path: Path) -> None:
    """The limit of the file's size stands for the full disk: both end a write in its middle."""
    path = tmp_path / "journal"
    journal = Journal(path, about="coinbase BTC/USD")
    journal.append(PAGES[0])
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 100, limits[1]))
        with pytest.raises(OSError, match=os.strerror(errno.EFBIG)) as full:
            journal.append(PAGES[3])
        with pytest.raises(OSError, match=os.strerror(errno.EFBIG)) as full_too:
            write_bytes(tmp_path / "month", bytes(len(before) + 200))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, previous)
    assert (full.value.filename, full_too.value.filename) == (str(path), str(tmp_path / "month"))
    assert path.read_bytes() == before
    journal.append(PAGES[2])
    journal.close()
    assert [len(one.bars) for one in opened(path)] == [5, 6]


def test_stored_values_keep_their_bits(tmp_path: Path) -> None:
    odd = page(0, 3)
    odd.bars.values[0] = np.nextafter([0.1, 0.3, 0.05, 0.2, 1e-300], 1.0)
    journal = Journal(tmp_path / "journal", about="x")
    journal.append(odd)
    journal.close()
    (found,) = opened(tmp_path / "journal", about="x")
    assert same(found, odd)
