"""A training of seconds for the tests of where a training runs: its spec, its channel, and a container around it."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from models_lib.files import sha256_file
from models_lib.scaling import fit_scaler
from models_lib.training import TrainingData, TrainingSpec, write_training_inputs
from models_lib.training.channel import pack_inputs

ROOT = Path(__file__).parents[1]


def small_spec(folder: Path, *, rows: int = 600, epochs: int = 3, **training: object) -> TrainingSpec:
    """Six features of which one says the class; its files lie in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    features = rng.normal(size=(rows, 6)).astype(np.float32)
    classes = np.digitize(features[:, 0], [-0.43, 0.43]).astype(np.int8)
    train, validation = np.arange(rows * 3 // 4), np.arange(rows * 3 // 4 + 10, rows)
    data = TrainingData(features, classes, train, validation, fit_scaler(features, train))
    np.save(folder / "matrix.npy", features)
    return TrainingSpec.model_validate(
        {
            "symbol": "BTC-USD",
            "seed": 11,
            "features": folder / "matrix.npy",
            "targets": write_training_inputs(folder, data),
            "output": folder / "out",
            "network": {},
            "training": {"batch_size": 64, "max_epochs": epochs, "device": "cpu", **training},
            "gates": {},
        }
    )


class Ml:
    """The folder that AWS calls /opt/ml, with a packed channel."""

    def __init__(self, folder: Path, spec: TrainingSpec) -> None:
        self.folder = folder
        self.channel = folder / "input" / "data" / "training"
        self.model = folder / "model"
        self.checkpoints = folder / "checkpoints"
        self.failure = folder / "output" / "failure"
        self.inputs_sha256 = pack_inputs(spec, self.channel).sha256

    def environment(self, **more: str) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "OMP_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
            "SM_CHANNEL_TRAINING": str(self.channel),
            "SM_MODEL_DIR": str(self.model),
            "SM_OUTPUT_DATA_DIR": str(self.folder / "output" / "data"),
            **more,
        }

    def command(self, *arguments: str, python: Sequence[str] = (sys.executable,)) -> list[str]:
        given = arguments or ("--inputs_sha256", self.inputs_sha256, "--device", "cpu")
        return [*python, str(ROOT / "deployments" / "sagemaker" / "train.py"), *given]

    def run(self, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """The entry script over this checkout's library; a failure's reason lies in `failure` then."""
        environ = self.environment(**{"PYTHONPATH": str(ROOT), **environment})
        return subprocess.run(self.command(*arguments), env=environ, capture_output=True, text=True, check=False)

    def weights_sha256(self) -> str:
        """Of the model, after every file of it was verified against what training.json says."""
        facts = json.loads((self.model / "training.json").read_bytes())
        assert facts["inputs_sha256"] == self.inputs_sha256
        assert {name: sha256_file(self.model / name) for name in facts["files"]} == facts["files"]
        assert {path.name for path in self.model.iterdir()} == {"training.json", *facts["files"]}
        return str(facts["files"]["weights.safetensors"])
