"""Models of before the bundle, trained as they were: a V6 and a V7 on raw prices without a scaler, written by torch.save.

A frame of real candles and 15 epochs give the files that failed in production; two epochs on two simulated weeks give
the same faults in seconds.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch

from models_lib.bundle.tensors import Tensors
from models_lib.candles.simulated import simulate_candles
from models_lib.config import GatesSection, LabelSection, NetworkSection, SplitsSection, TrainingSection
from models_lib.features import RAW72, FeatureSet, compute_features
from models_lib.scaling import Scaler, fit_scaler
from models_lib.steps.labels import label_frame
from models_lib.training.data import TrainingData
from models_lib.training.trainer import train_network

EPOCHS = 15
SEED = 9
"""On raw prices most seeds end dead, with one answer for every row; with this one the V6 learns, and shouts."""
SCALER_TENSORS = ("scaler_mean", "scaler_scale")

_AS_EVER = {
    "device": "cpu",
    "schedule": "constant",
    "weight_average_decay": 0.0,
    "gradient_clip_norm": None,
}
_RECIPES: Mapping[str, dict[str, Any]] = {
    "v6": {"optimizer": "adam", "learning_rate": 1e-3, "batch_size": 32},
    "v7": {
        "optimizer": "adamw",
        "learning_rate": 1e-3,
        "batch_size": 64,
        "schedule": "cosine",
        "loss": "focal",
        "label_smoothing": 0.05,
    },
}


def simulated_frame(*, days: int = 14, symbol: str = "BTC-USD") -> pd.DataFrame:
    """Candles that begin at 79,568, as the market of tests/markets.py."""
    return simulate_candles(symbol, market="default", seed=7, days=days)


def train_old(
    family: Literal["v6", "v7"],
    frame: pd.DataFrame,
    *,
    epochs: int = EPOCHS,
    symbol: str = "BTC-USD",
    features: FeatureSet = RAW72,
    seed: int = SEED,
    scaled: bool = False,
    **training: Any,
) -> Tensors:
    """The tensors, under our names, of a network without its scaler; no gate stops its training.

    Args:
        family: which recipe (SPEC 6).
        frame: checked candles of one symbol.
        epochs: all of them are done.
        symbol: for messages.
        features: what it is trained on.
        seed: of weights, order and dropout.
        scaled: whether it learns on scaled inputs, so that a scaler was lost; otherwise on raw ones.
        training: keys of the training section that shall differ from the recipe.
    """
    labelled = label_frame(frame, LabelSection(), SplitsSection(), symbol=symbol)
    matrix = compute_features(frame, features=features)
    num_features = matrix.shape[1]
    if scaled:
        scaler = fit_scaler(matrix, labelled.splits.train, names=features.names)
        matrix = ((matrix - scaler.mean) / scaler.scale).astype(np.float32)
    nothing = Scaler(mean=np.zeros(num_features), scale=np.ones(num_features))  # a v7 of ours cannot be made without
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the training worker: several wait for each other on a busy machine
    outcome = train_network(
        TrainingData(
            features=matrix,
            classes=labelled.classes,
            train_rows=labelled.splits.train,
            validation_rows=labelled.splits.validation,
            scaler=None if family == "v6" else nothing,
        ),
        network=NetworkSection(family=family, input_clip_std=None),
        training=TrainingSection(
            **{
                **_AS_EVER,
                **_RECIPES[family],
                "max_epochs": epochs,
                "patience": epochs,
                "gate_stop_epochs": epochs + 1,
                **training,
            }
        ),
        gates=GatesSection(),
        seed=seed,
    )
    torch.set_num_threads(threads)
    return {name: array for name, array in outcome.tensors.items() if name not in SCALER_TENSORS}


def old_state(tensors: Mapping[str, np.ndarray], *, prefix: str = "") -> dict[str, torch.Tensor]:
    """The tensors as the old programs named them (fc1, bn1, ...), with the step counters of torch's BatchNorm."""
    state = {}
    for name, array in tensors.items():
        kind, _, rest = name.partition(".")
        number, _, part = rest.partition(".")
        owner = {"linears": "fc", "norms": "bn"}.get(kind)
        state[prefix + (f"{owner}{int(number) + 1}.{part}" if owner else name)] = torch.from_numpy(np.array(array))
        if part == "running_var":
            state[f"{prefix}{owner}{int(number) + 1}.num_batches_tracked"] = torch.tensor(1_000)
    return state


def write_v6(path: Path, tensors: Mapping[str, np.ndarray]) -> Path:
    """The V6's file: a state under model_state_dict, what its training left beside it, and no scaler."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"model_state_dict": old_state(tensors), "epoch": EPOCHS, "val_acc": 0.71}, path)
    return path


def write_v7(path: Path, tensors: Mapping[str, np.ndarray]) -> Path:
    """The V7's file: a bare state as two GPUs trained it, with its learned temperature and no scaler."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(old_state(tensors, prefix="module."), path)
    return path
