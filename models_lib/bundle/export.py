"""Bundles for programs of others: `lstm_<SYMBOL>_v8_enhanced.pt` for torch, `<SYMBOL>.onnx` for any ONNX runtime.

The bot of before opens the first by that name. torch.save writes it, because that is the format its readers know: a zip
whose index is a pickle stream. This is the only pickle that the product writes. It holds tensors and plain values alone,
and that `torch.load(weights_only=True)`, which executes nothing, takes it is proven before the file appears. We never
read one back as a model: a bundle is what we load.

What does not belong here: choosing the bundle (models_lib.registry), and model.onnx itself (models_lib.networks).
"""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models_lib.bundle import layout
from models_lib.bundle.golden import PROBABILITY_TOLERANCE, Golden, parse_golden
from models_lib.bundle.hashes import check_hashes, complete_files
from models_lib.bundle.predictor import Matrix, OnnxPredictor, probabilities_of
from models_lib.bundle.reader import Bundle, load_bundle
from models_lib.bundle.tensors import SCALER_MEAN, SCALER_SCALE, TEMPERATURE
from models_lib.config import NetworkSection
from models_lib.errors import BundleError
from models_lib.files import whole_file
from models_lib.networks import network_from_tensors

FAMILY = "v8"


def export_bundle(bundle_folder: Path, destination_folder: Path, *, symbol: str | None = None) -> tuple[Path, ...]:
    """Writes both files, or neither, and returns where they are; files of an earlier export are replaced.

    Args:
        bundle_folder: any sound bundle of the v8 family.
        destination_folder: made when it is missing.
        symbol: the symbol that the bundle is wanted for; None takes any.

    Raises:
        ConfigError: there is no such bundle folder, or it cannot be read.
        BundleError: the bundle fails a check, is of another symbol or family, has no model.onnx, or an exported file
            does not give the golden probabilities.
    """
    bundle, files = _checked(bundle_folder, symbol)
    golden = parse_golden(files[layout.GOLDEN_FILE])
    if layout.ONNX_FILE not in files:
        raise BundleError(f"{bundle_folder}: no {layout.ONNX_FILE} to export. Train again with this version of crpbot.")
    onnx = destination_folder / f"{bundle.manifest.symbol}.onnx"
    with whole_file(onnx) as fresh:
        fresh.write_bytes(files[layout.ONNX_FILE])
        engine = OnnxPredictor(fresh.read_bytes(), bundle.tensors)
        _check_parity(golden, engine.probabilities(golden.features), name=onnx.name)
        torch_file = _write_torch(bundle, golden, destination_folder)  # it may refuse, and then neither appears
    return torch_file, onnx


def export_torch(bundle_folder: Path, destination_folder: Path) -> Path:
    """Writes `lstm_<SYMBOL>_v8_enhanced.pt` and returns where it is; an earlier one is replaced.

    It is a dictionary, tensors float32 on the CPU:

        model_state_dict             every tensor of the network, scaler and log_temperature included
        scaler                       {"mean": [F], "scale": [F]}, the same as scaler_mean and scaler_scale
        temperature                  float: what the logits are divided by
        feature_names                the F columns, in order
        input_clip_std               float or None: scaled inputs are clipped at so many standard deviations
        symbol, bundle               whose model, and the hash of the bundle that it was made from

    The file appears whole or not at all, after its state, put into the network, gave the golden probabilities within 1e-5.

    Raises:
        ConfigError: there is no such bundle folder, or it cannot be read.
        BundleError: the bundle fails a check, is of another family, or the file does not give its answers.
    """
    bundle, files = _checked(bundle_folder, None)
    return _write_torch(bundle, parse_golden(files[layout.GOLDEN_FILE]), destination_folder)


def _checked(folder: Path, symbol: str | None) -> tuple[Bundle, Mapping[str, bytes]]:
    """The bundle after every check, with the content of its files."""
    bundle = load_bundle(folder, symbol=symbol)
    if bundle.manifest.family != FAMILY:
        raise BundleError(
            f"{folder}: bundle {bundle.hash[:12]} of {bundle.manifest.symbol} is {_in_words(bundle.manifest.family)}; only "
            f"{FAMILY} models are exported, the readers know no other. Export a {FAMILY} bundle."
        )
    files = complete_files(folder)
    check_hashes(folder, files, expected_hash=bundle.hash)
    return bundle, files


def _in_words(family: str) -> str:
    if family == "ensemble":
        return "an ensemble"
    generation, repaired, _ = family.partition("-repaired")
    return f"a repaired {generation}" if repaired else f"a {generation}"


def _write_torch(bundle: Bundle, golden: Golden, folder: Path) -> Path:
    path = folder / f"lstm_{bundle.manifest.symbol}_{FAMILY}_enhanced.pt"
    written = (
        io.BytesIO()
    )  # in memory: torch names the zip's folder after a file, and equal bundles shall give equal bytes
    torch.save(_document(bundle), written)
    with whole_file(path) as fresh:
        fresh.write_bytes(written.getvalue())
        read = torch.load(fresh, map_location="cpu", weights_only=True)
        answers = _probabilities(_section(bundle), read["model_state_dict"], golden.features)
        _check_parity(golden, answers, name=path.name)
    return path


def _document(bundle: Bundle) -> dict[str, Any]:
    """What the file says; the state is the one that the network itself names."""
    mean, scale = (torch.from_numpy(np.array(bundle.tensors[name])) for name in (SCALER_MEAN, SCALER_SCALE))
    section = _section(bundle)
    return {
        "model_state_dict": dict(network_from_tensors(section, bundle.tensors).state_dict()),
        "scaler": {"mean": mean, "scale": scale},
        "scaler_mean": mean,
        "scaler_scale": scale,
        "temperature": float(bundle.tensors[TEMPERATURE][0]),
        "feature_names": list(bundle.manifest.features.names),
        "input_clip_std": section.input_clip_std,
        "symbol": bundle.manifest.symbol,
        "bundle": bundle.hash,
    }


def _section(bundle: Bundle) -> NetworkSection:
    assert bundle.manifest.network is not None, "a v8 has a network"
    return bundle.manifest.network


def _probabilities(section: NetworkSection, state: Mapping[str, torch.Tensor], features: Matrix) -> Matrix:
    network = network_from_tensors(section, {name: tensor.numpy() for name, tensor in state.items()})
    with torch.inference_mode():
        logits: Matrix = network(torch.from_numpy(np.array(features))).numpy()
    return probabilities_of(logits)


def _check_parity(golden: Golden, probabilities: Matrix, *, name: str) -> None:
    apart = float(np.abs(probabilities.astype(np.float64) - golden.probabilities).max())
    if not apart <= PROBABILITY_TOLERANCE:
        raise BundleError(
            f"{name}: a golden probability comes out {apart:.3g} away from the record (at most "
            f"{PROBABILITY_TOLERANCE:g} allowed). Nothing was written; train the model again."
        )
