"""model.onnx: the same answers as torch, the same bytes from the same tensors, and bundles from before it existed."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.numpy import load_file

from models_lib.bundle import OnnxPredictor, TorchPredictor, load_bundle, verify_bundle, with_temperature
from models_lib.config import NetworkSection
from models_lib.errors import BundleError
from models_lib.networks import build_network, state_tensors
from models_lib.networks.onnx_graph import onnx_model
from models_lib.scaling import Scaler
from tests.bundles import TEMPERATURE, edit_json, reseal

SECTIONS = {
    "v8": NetworkSection(),
    "v8 unclipped": NetworkSection(input_clip_std=None),
    "v7": NetworkSection(family="v7"),
}


def lived_in_tensors(section: NetworkSection, *, num_features: int = 72) -> dict[str, np.ndarray]:
    """Tensors as training leaves them: nothing is 0 or 1 any more."""
    random = np.random.default_rng(7)
    network = build_network(
        section,
        num_features=num_features,
        scaler=Scaler(mean=random.normal(size=num_features), scale=random.uniform(0.2, 3.0, size=num_features)),
        generator=torch.Generator().manual_seed(7),
    )
    tensors = with_temperature(state_tensors(network), TEMPERATURE)
    for name, array in tensors.items():
        if name.startswith("norms."):
            np.add(array, random.uniform(0.05, 0.5, size=array.shape), out=array, casting="same_kind")
    return tensors


@pytest.fixture(scope="module", params=SECTIONS)
def engines(request: pytest.FixtureRequest) -> tuple[TorchPredictor, OnnxPredictor]:
    section = SECTIONS[request.param]
    tensors = lived_in_tensors(section)
    return TorchPredictor(section, tensors), OnnxPredictor(onnx_model(section, tensors), tensors)


def rows_of_all_kinds(seed: int) -> np.ndarray:
    """1,000 rows [1000, 72]: from all features alike to none alike, at limits, at nothing, and hardly more than nothing.

    Made from a seed, so that a failure is told in one line instead of 72,000 numbers.
    """
    random = np.random.default_rng(seed)
    rows = np.broadcast_to(random.uniform(-50.0, 50.0, size=(1000, 1)), (1000, 72)).copy()
    special = np.array([-50.0, -1.0, -0.0, 0.0, 2.0**-149, 2.0**-52, 1e-11, 1.0, 50.0])
    own = random.random(rows.shape) < random.random((1000, 1))
    rows[own] = random.uniform(-50.0, 50.0, size=int(own.sum()))
    picked = random.random(rows.shape) < 0.3 * random.random((1000, 1))
    rows[picked] = random.choice(special, size=int(picked.sum()))
    return rows.astype(np.float32)


@pytest.mark.parametrize("seed", range(5))
def test_both_engines_agree(engines: tuple[TorchPredictor, OnnxPredictor], seed: int) -> None:
    by_torch, by_onnx = engines
    rows = rows_of_all_kinds(seed)
    assert by_onnx.temperature == by_torch.temperature == TEMPERATURE
    # the promise: 1e-5 on probabilities; 50 standard deviations unclipped give logits of hundreds, so theirs is relative
    np.testing.assert_allclose(by_onnx.probabilities(rows), by_torch.probabilities(rows), atol=1e-5, rtol=0)
    np.testing.assert_allclose(by_onnx.logits(rows), by_torch.logits(rows), atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(by_onnx.raw_logits(rows), by_torch.raw_logits(rows), atol=1e-5, rtol=1e-5)


def test_row_has_the_same_answer_alone_and_among_others(engines: tuple[TorchPredictor, OnnxPredictor]) -> None:
    rows = np.random.default_rng(3).normal(size=(300, 72)).astype(np.float32)
    together = engines[1].probabilities(rows)
    alone = np.concatenate([engines[1].probabilities(rows[k : k + 1]) for k in range(len(rows))])
    np.testing.assert_allclose(alone, together, atol=1e-6, rtol=0)


def test_pieces_of_many_rows_give_the_bits_of_all_rows_at_once(
    engines: tuple[TorchPredictor, OnnxPredictor],
) -> None:
    onnx = engines[1]
    rows = np.random.default_rng(5).normal(size=(2 * 1_024 + 77, 72)).astype(np.float32)
    for output, answer in (("raw_logits", onnx.raw_logits(rows)), ("logits", onnx.logits(rows))):
        np.testing.assert_array_equal(answer, onnx._session.run([output], {"features": rows})[0])


def test_same_tensors_give_the_same_bytes_in_any_order() -> None:
    tensors = lived_in_tensors(NetworkSection())
    assert onnx_model(NetworkSection(), tensors) == onnx_model(NetworkSection(), dict(reversed(tensors.items())))


def test_others_read_calibrated_probabilities_from_the_file(pristine: Path) -> None:
    golden = load_file(pristine / "golden/golden.safetensors")
    session = onnxruntime.InferenceSession(pristine / "model.onnx", providers=["CPUExecutionProvider"])
    (probabilities,) = session.run(["probabilities"], {"features": golden["features"]})
    np.testing.assert_allclose(probabilities, golden["probabilities"], atol=1e-5, rtol=0)


def test_network_without_a_scaler_cannot_be_served() -> None:
    with pytest.raises(BundleError, match="v6 network has no scaler"):
        onnx_model(NetworkSection(family="v6"), {})


def test_bundle_from_before_is_read_with_torch_and_not_served(bundle: Path) -> None:
    folder = bundle
    expected = load_bundle(folder).predictor.probabilities(load_file(folder / "golden/golden.safetensors")["features"])
    (folder / "model.onnx").unlink()
    (folder / "run.json").unlink()  # its facts are about the bundle with model.onnx

    def as_before(tree: dict) -> None:
        tree["schema_version"] = 1
        tree.pop("envelope")

    edit_json(folder / "manifest.json", as_before)
    reseal(folder)
    read = load_bundle(folder)
    assert read.manifest.envelope is None
    assert "envelope" not in read.manifest.to_json()
    features = load_file(folder / "golden/golden.safetensors")["features"]
    np.testing.assert_allclose(read.predictor.probabilities(features), expected, atol=1e-5, rtol=0)
    assert [finding.message for finding in verify_bundle(folder) if finding.check == "engine"] == [
        "no model.onnx: the tensors in torch"
    ]
    with pytest.raises(BundleError, match=r"no model\.onnx; a host serves nothing else"):
        load_bundle(folder, only_as_served=True)
