"""A bundle computes its inputs with the set that it names, whichever that is: at writing, loading, judging and serving."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from models_lib.bundle import (
    EnvelopeFacts,
    FeatureFacts,
    TorchPredictor,
    load_bundle,
    record_golden,
    verify_bundle,
    with_temperature,
    write_bundle,
)
from models_lib.bundle.golden import GOLDEN_ROWS
from models_lib.bundle.layout import MANIFEST_FILE
from models_lib.candles.simulated import simulate_candles
from models_lib.config import NetworkSection
from models_lib.envelope import fit_envelope
from models_lib.errors import BundleError
from models_lib.features import (
    CURRENT,
    FEATURE_SETS,
    RAW72,
    SERVING_BARS,
    WARM_UP_BARS,
    FeatureSet,
    compute_features,
    joined,
    selected,
)
from models_lib.networks import build_network, state_tensors
from models_lib.runtime.bars import BarWindow
from models_lib.runtime.serving import ServedModel
from models_lib.scaling import fit_scaler
from tests.bundles import TEMPERATURE, edit_json, example_manifest, reseal, walk_candles
from tests.unit.features.markets import with_hole
from tests.unit.runtime.host_folders import raws_of

FEW = selected(("close", "rsi_14", "volume", "open", "g_60"))
SETS = (RAW72, joined(RAW72, CURRENT), FEW)


def write_of(features: FeatureSet, folder: Path) -> Path:
    """An untrained v8 network that reads that set, on a random walk."""
    candles = walk_candles()
    matrix = compute_features(candles, features=features)
    rows = np.flatnonzero(~np.isnan(matrix).any(axis=1))
    network = build_network(
        NetworkSection(),
        num_features=matrix.shape[1],
        scaler=fit_scaler(matrix, rows),
        generator=torch.Generator().manual_seed(1),
    )
    tensors = with_temperature(state_tensors(network), TEMPERATURE)
    manifest = example_manifest(candles).model_copy(
        update={
            "features": FeatureFacts.of(features),
            "envelope": EnvelopeFacts.of(fit_envelope(matrix, rows)),
        }
    )
    golden = record_golden(candles, TorchPredictor(NetworkSection(), tensors), symbol="BTC-USD", features=features)
    np.testing.assert_array_equal(golden.features, matrix[-GOLDEN_ROWS:])
    write_bundle(folder, tensors=tensors, manifest=manifest, golden=golden)
    return folder


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One bundle a set, by its name; no test may change them."""
    return {known.name: write_of(known, tmp_path_factory.mktemp("sets") / "candidate") for known in SETS}


of_every_set = pytest.mark.parametrize("known", SETS, ids=lambda known: known.name)


@of_every_set
def test_facts_give_the_set_back(known: FeatureSet) -> None:
    facts = FeatureFacts.of(known)
    assert (facts.set, facts.names) == (known.name, known.names)
    assert FeatureFacts.model_validate_json(facts.model_dump_json()).feature_set() == known


def test_facts_of_the_current_set_are_the_default() -> None:
    assert FeatureFacts.current() == FeatureFacts.of(FEATURE_SETS["current"])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"set": "raw73"}, "features.set is 'raw73', this code has raw72, current and selected"),
        ({"set": "raw72"}, "144 features where this code has 72"),
        ({"set": "current+raw72"}, "another order: number 0 is open, this code has g_60"),
        ({"names": RAW72.names}, "72 features where this code has 144"),
        ({"set": "selected", "names": ("magic",)}, "1 unknown features: magic"),
        ({"version": 3}, "features.version is 3, this code has 2"),
        ({"version": 1}, "features.version is 1, this code has 2"),
        ({"warm_up_bars": 200}, "features.warm_up_bars is 200, this code has 1440"),
        ({"serving_bars": 1_024}, "features.serving_bars is 1024, this code has 4096"),
    ],
)
def test_facts_of_other_code_are_refused(change: dict[str, object], told: str) -> None:
    facts = FeatureFacts.of(joined(RAW72, CURRENT)).model_copy(update=change)
    with pytest.raises(BundleError, match=told) as refusal:
        facts.feature_set()
    assert str(refusal.value).startswith("manifest.json: ")
    assert str(refusal.value).endswith("Use the version of crpbot that wrote the bundle, or train again.")


@of_every_set
def test_bundle_of_a_set_passes_every_check_and_predicts_with_it(written: dict[str, Path], known: FeatureSet) -> None:
    findings = verify_bundle(written[known.name])
    assert {finding.level for finding in findings} == {"ok"}
    assert f"{len(known.names)} features of set '{known.name}', in order" in {found.message for found in findings}
    bundle = load_bundle(written[known.name])
    candles = walk_candles(3_500, seed=8, hole_after=1_700)
    matrix = compute_features(candles, features=known)
    assert bundle.feature_set == known
    np.testing.assert_array_equal(bundle.features(candles), matrix)
    probabilities = bundle.predict(candles)
    there = ~np.isnan(matrix).any(axis=1)
    assert there.sum() == len(candles) - 2 * WARM_UP_BARS
    np.testing.assert_array_equal(probabilities[there], bundle.predictor.probabilities(matrix[there]))
    assert np.isnan(probabilities[~there]).all()


@of_every_set
def test_golden_vectors_of_another_set_are_refused(tmp_path: Path, written: dict[str, Path], known: FeatureSet) -> None:
    """The manifest names a set of as many columns: nothing but the replay can tell."""
    other = selected(tuple(sorted(known.names)))
    folder = tmp_path / "candidate"
    shutil.copytree(written[known.name], folder)
    facts = json.loads(FeatureFacts.of(other).model_dump_json())
    edit_json(folder / MANIFEST_FILE, lambda tree: tree.update(features=facts))
    reseal(folder)
    with pytest.raises(BundleError, match=r"golden vectors: feature \w+ comes out .* std away from the record"):
        load_bundle(folder)


@of_every_set
def test_served_bar_by_bar_as_in_a_batch(written: dict[str, Path], known: FeatureSet) -> None:
    whole = simulate_candles("BTC-USD", market="default", seed=7, days=5)
    candles = with_hole(whole, 4_600, 30)
    bundle = load_bundle(written[known.name], only_as_served=True)
    batch, probabilities = compute_features(candles, features=known), bundle.predict(candles)
    model, window = ServedModel(bundle), BarWindow(fill_no_trade_minutes=0)
    compared = 0
    for row, raw in enumerate(raws_of(candles)):
        window.take(raw)
        if not window.warm or row % 40:
            continue
        live = model.predict(window)
        np.testing.assert_array_equal(live.features.view(np.uint32), batch[row].view(np.uint32))
        assert np.abs(np.array(live.probabilities) - probabilities[row]).max() <= 1e-6
        assert live.finite
        compared += row > SERVING_BARS
    assert compared > 20
