"""The newest day answered by a bundle: what counts as an answer, and when there is nothing to judge by."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from models_lib.bundle import load_bundle
from models_lib.errors import BundleError, ConfigError, DataError
from models_lib.host.rehearsal import load_release, rehearse
from tests.bundles import walk_candles

CANDLES = walk_candles(3_000)


@pytest.fixture
def release(bundles: dict[str, list[Path]]) -> Path:
    return bundles["BTC-USD"][0]


def test_answers_are_those_of_the_bundle(release: Path) -> None:
    answers = rehearse(load_release(release, "BTC-USD", release.name), CANDLES, minutes=500)
    probabilities = load_bundle(release).predict(CANDLES)[-500:]
    called = np.bincount(probabilities.argmax(axis=1), minlength=3)
    assert (answers.predictions, answers.non_finite, answers.errors) == (500, 0, 0)
    assert answers.classes == dict(zip(("DOWN", "NEUTRAL", "UP"), called.tolist(), strict=True))
    assert answers.over_99 == int((probabilities.max(axis=1) > 0.99).sum())
    assert answers.bar_age_seconds is None
    assert answers.latency_ms is not None
    assert answers.latency_ms > 0.0


def test_minutes_without_features_are_no_answers(release: Path) -> None:
    """A hole of an hour: the minutes behind it have no whole window."""
    holed = walk_candles(3_000, hole_after=2_900)
    bundle = load_release(release, "BTC-USD", release.name)
    known = int((~np.isnan(load_bundle(release).predict(holed)[-300:]).any(axis=1)).sum())
    assert 0 < known < 300
    assert rehearse(bundle, holed, minutes=300).predictions == known


def test_candles_too_few_for_features_are_refused(release: Path) -> None:
    with pytest.raises(DataError, match=r"BTC-USD: none of the newest 60 candles .* 100 candles .* Give the host more"):
        rehearse(load_release(release, "BTC-USD", release.name), CANDLES.head(100), minutes=60)


def test_damaged_release_is_not_loaded(release: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(release, tmp_path / release.name))
    (copy / "model.onnx").write_bytes(b"")
    with pytest.raises(BundleError, match=r"model\.onnx"):
        load_release(copy, "BTC-USD", release.name)


def test_release_of_another_symbol_or_hash_is_not_loaded(release: Path) -> None:
    with pytest.raises((BundleError, ConfigError), match="BTC-USD"):
        load_release(release, "ETH-USD", release.name)
    with pytest.raises(BundleError):
        load_release(release, "BTC-USD", "0" * 64)
