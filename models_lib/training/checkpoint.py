"""Weights in a safetensors file, and back: no code is run by reading.

What does not belong here: what a tensor means (models_lib.networks) and the bundle's manifest (models_lib.bundle).
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from models_lib.errors import BundleError
from models_lib.files import write_bytes


def encode_weights(tensors: Mapping[str, NDArray[np.float32]]) -> bytes:
    """The tensors as the content of a safetensors file; equal tensors give equal bytes."""
    return bytes(save({name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)}))


def write_weights(path: Path, tensors: Mapping[str, NDArray[np.float32]]) -> None:
    """Writes the tensors to `path`, whole or not at all."""
    write_bytes(path, encode_weights(tensors))


def read_weights(path: Path) -> dict[str, NDArray[np.float32]]:
    """The tensors of a file.

    Raises:
        BundleError: if the file is missing or is not a whole safetensors file.
    """
    try:
        return dict(sorted(load(path.read_bytes()).items()))
    except (OSError, SafetensorError) as error:
        raise BundleError(f"{path}: no readable weights ({error}). Train the model again.") from error
