"""The channel `training`: the files that a training elsewhere is given, and the identity of what is trained from them.

    features.npy                 float32 [N, F]
    training_inputs.safetensors  classes, rows, scaler
    spec.json                    symbol, seed, network, recipe, gates, and the hashes of the two files

spec.json says everything that decides the weights and nothing of this machine: no paths, no backend, no prices. So its own
hash is the identity of the training, the same wherever and however often it is trained.

What does not belong here: sending the files anywhere (tasks/adapters), and training (container.py).
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import ValidationError

from models_lib.config import identity_of_training
from models_lib.errors import ConfigError, DataError, excerpt
from models_lib.files import canonical_json, sha256_bytes, sha256_file, write_bytes
from models_lib.training.spec import TARGETS_FILE, TrainingSpec

CHANNEL: Final = "training"
FEATURES_FILE: Final = "features.npy"
SPEC_FILE: Final = "spec.json"
_VERSION: Final = 1

Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True)
class ChannelFiles:
    """What the channel of one training holds, before it is sent.

    Attributes:
        spec: content of spec.json.
        paths: the other files by their names in the channel, where they lie on this machine.
        sha256s: of those files, by the same names.
    """

    spec: bytes
    paths: Mapping[str, Path]
    sha256s: Mapping[str, str]

    @property
    def sha256(self) -> str:
        """The identity of what is trained; see `inputs_sha256`."""
        return sha256_bytes(self.spec)


def channel_files(spec: TrainingSpec) -> ChannelFiles:
    """The files of the channel for a training; reads both of the spec's files once, for their hashes."""
    paths = {FEATURES_FILE: spec.features, TARGETS_FILE: spec.targets}
    sha256s = {name: sha256_file(path) for name, path in paths.items()}
    told = {
        "version": _VERSION,
        "symbol": spec.symbol,
        "seed": spec.seed,
        "files": sha256s,
        "network": spec.network.model_dump(mode="json"),
        "training": identity_of_training(spec.training),
        "gates": spec.gates.model_dump(mode="json"),
    }
    return ChannelFiles(canonical_json(told), paths, sha256s)


def inputs_sha256(spec: TrainingSpec) -> str:
    """The identity of what is trained: equal for two specs exactly when they ask for the same weights."""
    return channel_files(spec).sha256


def pack_inputs(spec: TrainingSpec, folder: Path) -> ChannelFiles:
    """Lays the channel's files into `folder`, as links where the disk is the same; spec.json comes last."""
    files = channel_files(spec)
    folder.mkdir(parents=True, exist_ok=True)
    for name, path in files.paths.items():
        _link(path, folder / name)
    write_bytes(folder / SPEC_FILE, files.spec)
    return files


def read_channel(folder: Path, *, expected: str, device: Device, output: Path) -> TrainingSpec:
    """The order that the channel holds, every byte verified.

    Args:
        folder: of the channel.
        expected: identity of what is to be trained.
        device: where; the channel does not say.
        output: the folder for what comes out.

    Raises:
        DataError: a file is missing or damaged, or is of another training than the expected one.
        ConfigError: this code does not know what the order asks for.
    """
    content = _content(folder / SPEC_FILE)
    found = sha256_bytes(content)
    if found != expected:
        raise DataError(
            f"the channel {CHANNEL} is of the training {found[:12]}, and the job of {expected[:12]}: they do not belong "
            "together. Submit the training again, so that both are made from the same inputs."
        )
    told = json.loads(content)
    for name, sha256 in told["files"].items():
        _verify(folder / name, sha256)
    return _order(told, folder, device=device, output=output)


def _order(told: Mapping[str, Any], folder: Path, *, device: Device, output: Path) -> TrainingSpec:
    if told["version"] != _VERSION:
        raise ConfigError(
            f"{SPEC_FILE}: version {told['version']} is not the {_VERSION} that this code reads. Submit the training again."
        )
    try:
        return TrainingSpec.model_validate(
            {
                "symbol": told["symbol"],
                "seed": told["seed"],
                "features": folder / FEATURES_FILE,
                "targets": folder / TARGETS_FILE,
                "output": output,
                "network": told["network"],
                "training": told["training"] | {"device": device},
                "gates": told["gates"],
            }
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(
            f"{SPEC_FILE}: {'.'.join(map(str, first['loc']))}: {excerpt(first['msg'])}. The code of the job is not the code that asked for the training: "
            "submit it again."
        ) from error


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error


def _verify(path: Path, sha256: str) -> None:
    try:
        found = sha256_file(path)
    except OSError as error:
        raise _unreadable(path, error) from error
    if found != sha256:
        raise DataError(
            f"{path.name} of the channel {CHANNEL} is damaged: its SHA-256 is {found[:12]}, {sha256[:12]} was sent. "
            "Submit the training again."
        )


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(
        f"the channel {CHANNEL} has no readable {path.name} ({error.strerror}): the data were not uploaded to where the "
        "job takes them from. Submit the training again."
    )


def _link(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without links
        shutil.copyfile(source, target)
