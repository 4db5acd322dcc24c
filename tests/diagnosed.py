"""What numpy alone says of an old file on the test rows of a frame, to hold a diagnosis against."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from models_lib.config import LabelSection, SplitsSection
from models_lib.features import RAW72, compute_features
from models_lib.labels import CLASS_NAMES
from models_lib.steps.labels import label_frame


@dataclass(frozen=True, eq=False)
class Known:
    """What numpy alone says of an old file on the test rows of a frame."""

    state: dict[str, np.ndarray]
    features: np.ndarray
    classes: np.ndarray

    def layer_1(self) -> np.ndarray:
        return self.features @ self.state["fc1.weight"].T + self.state["fc1.bias"]

    def raw_logits(self) -> np.ndarray:
        x = self.features
        for layer in (1, 2, 3):
            x = x @ self.state[f"fc{layer}.weight"].T + self.state[f"fc{layer}.bias"]
            if f"bn{layer}.weight" in self.state:
                norm = {
                    part: self.state[f"bn{layer}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
                }
                x = norm["weight"] * (x - norm["running_mean"]) / np.sqrt(norm["running_var"] + 1e-5) + norm["bias"]
            x = np.maximum(x, 0.0)
        logits: np.ndarray = x @ self.state["fc4.weight"].T + self.state["fc4.bias"]
        return logits


def known(file: Path, frame: pd.DataFrame) -> Known:
    document = torch.load(file, weights_only=True)
    state = document.get("model_state_dict", document)
    labelled = label_frame(frame, LabelSection(), SplitsSection(), symbol="")
    test = labelled.splits.test
    return Known(
        state={name.removeprefix("module."): tensor.numpy().astype(np.float64) for name, tensor in state.items()},
        features=compute_features(frame, features=RAW72)[test].astype(np.float64),
        classes=labelled.classes[test],
    )


def check_figures(document: dict[str, Any], truth: Known, *, temperature: float) -> None:
    """Every figure of the document is what numpy says."""
    raw = truth.raw_logits()
    logits = raw / temperature
    for name, values in (("min", logits.min(axis=0)), ("mean", logits.mean(axis=0)), ("max", logits.max(axis=0))):
        # The model runs in float32 on inputs of 1e5.
        assert [document["logits"][name][c] for c in CLASS_NAMES] == pytest.approx(list(values), rel=2e-3, abs=0.05)
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = shifted / shifted.sum(axis=1, keepdims=True)
    confidence, said = probabilities.max(axis=1), logits.argmax(axis=1)
    assert document["confidence"]["mean"] == pytest.approx(confidence.mean(), abs=0.003)
    assert document["confidence"]["share_over_99"] == pytest.approx((confidence > 0.99).mean(), abs=0.01)
    assert document["skill"]["accuracy"] == pytest.approx((said == truth.classes).mean(), abs=0.003)
    shares = [(said == number).mean() for number in range(3)]
    assert [document["class_shares"][c] for c in CLASS_NAMES] == pytest.approx(shares, abs=0.003)

    layer = document["layer_1"]
    assert layer["largest_activation"] == pytest.approx(np.abs(truth.layer_1()).max(), rel=1e-6)
    reach, weight = np.abs(truth.features).max(axis=0), np.abs(truth.state["fc1.weight"]).max(axis=0)
    assert [feature["name"] for feature in layer["features"]] == list(RAW72.names)
    assert [feature["largest_activation"] for feature in layer["features"]] == pytest.approx(list(reach * weight))
    worst = int((reach * weight).argmax())
    assert layer["worst_features"][0] == RAW72.names[worst]
    assert (
        f"feature {worst + 1}, {RAW72.names[worst]}, reaches {reach[worst]:,.0f} and layer 1 answers with "
        f"{(reach * weight)[worst]:,.0f}"
    ) in document["cause"]
    assert layer["features"][3]["name"] == "close"
    assert layer["features"][3]["largest_input"] == pytest.approx(reach[3])
