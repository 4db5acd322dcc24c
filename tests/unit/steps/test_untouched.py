"""The rows on which models of other days are compared: none that either of them has touched."""

from datetime import timedelta

import numpy as np
import pytest

from models_lib.bundle import Bundle, Manifest, load_bundle
from models_lib.errors import DataError
from models_lib.steps.judgement import answers_of
from models_lib.steps.market import Market, market_of_run
from models_lib.steps.untouched import untouched_market
from tests.unit.steps.conftest import Judged, PreparedSymbol


@pytest.fixture(scope="module")
def market(btc: PreparedSymbol) -> Market:
    return market_of_run(btc.config, btc.prepared)


@pytest.fixture(scope="module")
def bundle(judged: Judged) -> Bundle:
    return load_bundle(judged.candidate.folder)


def moved(manifest: Manifest, part: str, **changes: object) -> Manifest:
    """The manifest with another span of one part."""
    span = getattr(manifest.splits, part).model_copy(update=changes)
    return manifest.model_copy(update={"splits": manifest.splits.model_copy(update={part: span})})


def test_models_of_the_same_candles_leave_them_as_they_are(market: Market, bundle: Bundle) -> None:
    same = untouched_market(market, [bundle.manifest, bundle.manifest], min_rows=500)
    for part in ("train", "validation", "test"):
        assert np.array_equal(getattr(same.labels.splits, part), getattr(market.labels.splits, part))
    assert same.labels.splits.spans == market.labels.splits.spans


def test_rows_begin_behind_what_the_later_model_has_seen(market: Market, bundle: Bundle) -> None:
    manifest, splits = bundle.manifest, market.labels.splits
    reach = timedelta(minutes=75)
    fitted = moved(manifest, "train", last=manifest.splits.train.last + timedelta(hours=6))
    chosen = moved(manifest, "validation", last=manifest.splits.validation.last + timedelta(hours=9))
    later = untouched_market(market, [fitted, chosen], min_rows=500)
    first = {part: market.times[getattr(later.labels.splits, part)[0]] for part in ("validation", "test")}
    assert first["validation"] == 1_000 * (fitted.splits.train.last + reach).timestamp() + 60_000
    assert first["test"] == 1_000 * (chosen.splits.validation.last + reach).timestamp() + 60_000
    assert later.labels.splits.spans["validation"][1] == 1_000 * chosen.splits.validation.last.timestamp(), (
        "an ensemble has seen what its members have"
    )
    assert later.labels.splits.test[-1] == splits.test[-1]
    assert np.array_equal(later.labels.splits.train, splits.train), "those that both were trained on"


def test_too_few_rows_are_refused_with_the_remedy(market: Market, bundle: Bundle) -> None:
    manifest = bundle.manifest
    long_ago = moved(manifest, "train", first=manifest.splits.train.first - timedelta(days=9), rows=25_000)
    with pytest.raises(DataError, match=r"of the rows that both models were trained on .* Give candles that begin"):
        untouched_market(market, [manifest, long_ago], min_rows=500)
    for part, told in (("train", "training"), ("validation", "validation")):
        end = moved(manifest, part, last=manifest.splits.test.last)
        with pytest.raises(DataError, match=rf"rows lie after the end of both models' {told}.* Give newer candles"):
            untouched_market(market, [manifest, end], min_rows=500)


def test_scaler_is_held_against_the_rows_that_the_model_was_fitted_on(market: Market, bundle: Bundle) -> None:
    """Newer candles have another training part; prices have moved on by then."""
    rows = answers_of(bundle, market).train_rows
    assert rows is not None
    assert np.array_equal(rows, market.labels.splits.train)
    earlier = moved(bundle.manifest, "train", last=bundle.manifest.splits.train.last - timedelta(days=1), rows=8_000)
    cut = market.trained_on(earlier)
    assert np.array_equal(cut, rows[: cut.size])
    assert market.times[cut[-1]] <= earlier.splits.train.last.timestamp() * 1_000 < market.times[rows[cut.size]]
    assert not market.trained_on(bundle.manifest.model_copy(update={"simulated_market": None})).size
