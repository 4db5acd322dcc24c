"""A night that comes to the same bundle again renews its days, and the runtime that serves it reads that at once."""

import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from models_lib.host.releases import Releases
from models_lib.runtime.releases import renewed_at
from models_lib.runtime.served_symbol import ServedSymbol
from tests.bundles import T0, edit_json, reseal, walk_candles
from tests.unit.runtime.host_folders import Host, ListSource, given, raws_of

BTC = "BTC-USD"
LATER = T0 + timedelta(days=3)


@pytest.fixture
def served(host: Host, btc_bundle: Path) -> ServedSymbol:
    host.release(btc_bundle)
    return ServedSymbol(BTC, host.folder, fill_no_trade_minutes=0)


def judged_at(served: ServedSymbol) -> object:
    assert served.terms is not None
    return served.terms.judged_at


def test_days_count_from_the_newest_verdict(served: ServedSymbol, host: Host, btc_bundle: Path) -> None:
    assert judged_at(served) == T0
    Releases(host.folder).renew(BTC, btc_bundle.name, LATER)
    assert renewed_at(host.folder, BTC, btc_bundle.name) == LATER
    assert judged_at(served) == LATER, "without a restart"


def test_older_verdict_takes_no_day_away(served: ServedSymbol, host: Host, btc_bundle: Path) -> None:
    Releases(host.folder).renew(BTC, btc_bundle.name, T0 - timedelta(days=3))
    assert judged_at(served) == T0


def test_verdict_on_another_bundle_or_symbol_counts_for_that_one(
    served: ServedSymbol, host: Host, btc_bundle: Path
) -> None:
    Releases(host.folder).renew(BTC, "0" * 64, LATER)
    Releases(host.folder).renew("ETH-USD", btc_bundle.name, LATER)
    assert judged_at(served) == T0


@pytest.mark.parametrize("content", ["", "{", '{"judged_at": "soon"}', '{"judged_at": "2026-01-04T00:00:00"}', "[]"])
def test_verdict_that_cannot_be_read_renews_nothing(
    served: ServedSymbol, host: Host, btc_bundle: Path, content: str
) -> None:
    """Also one without a time zone."""
    path = host.folder / "judged" / BTC / f"{btc_bundle.name}.json"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    assert judged_at(served) == T0


def test_symbol_without_a_release_has_no_terms(host: Host) -> None:
    Releases(host.folder).renew(BTC, "0" * 64, LATER)
    assert ServedSymbol(BTC, host.folder, fill_no_trade_minutes=0).terms is None


def test_expired_release_is_served_again_once_it_is_renewed(host: Host, btc_bundle: Path, tmp_path: Path) -> None:
    old = Path(shutil.copytree(btc_bundle, tmp_path / "old" / btc_bundle.name))
    edit_json(old / "run.json", lambda tree: tree.update(judged_at=(T0 - timedelta(days=8)).isoformat()))
    assert reseal(old) == old.name
    host.release(old)
    raws = raws_of(walk_candles(1_500))
    source = ListSource(given(raws, past=len(raws) - 5))
    refused = host.run(source).symbols[BTC].refusals
    assert refused["expired"] == 5
    Releases(host.folder).renew(BTC, old.name, T0)
    again = Host(host.folder)
    shutil.rmtree(again.folder / "state")
    assert "expired" not in again.run(source).symbols[BTC].refusals
