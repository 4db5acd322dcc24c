"""A sound old file to damage, and zips written byte by byte."""

import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

NUM_FEATURES = 72


def old_network(*, norms: bool, num_features: int = NUM_FEATURES, seed: int = 1) -> nn.Sequential:
    """A V6, or a V7 with running statistics that are not those of the start, as torch's own layers make it."""
    torch.manual_seed(seed)
    widths = (num_features, 256, 128, 64)
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(widths):
        layers += [nn.Linear(fan_in, fan_out), *([nn.BatchNorm1d(fan_out)] if norms else []), nn.ReLU()]
    network = nn.Sequential(*layers, nn.Linear(64, 3))
    with torch.no_grad():
        network(some_rows(num_features=num_features))
    return network.eval()


def some_rows(num_rows: int = 700, *, num_features: int = NUM_FEATURES) -> torch.Tensor:
    """Rows whose columns have different means and spreads."""
    rng = np.random.default_rng(3)
    spread = np.linspace(0.5, 40.0, num_features)
    return torch.from_numpy((rng.normal(size=(num_rows, num_features)) * spread + 3.0 * spread).astype(np.float32))


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    """Writes what is given with torch.save and returns the path."""

    def save(document: Any, **options: Any) -> Path:
        path = tmp_path / "model.pt"
        torch.save(document, path, **options)
        return path

    return save


@pytest.fixture
def sound(saved: Callable[..., Path]) -> Path:
    """A V6 under model_state_dict."""
    return saved({"model_state_dict": old_network(norms=False).state_dict()})


def rewritten(path: Path, change: Callable[[dict[str, bytes]], object]) -> Path:
    """The file with its entries changed, still a plain zip."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    change(entries)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


@dataclass(frozen=True)
class Entry:
    """One entry of a zip with what its headers claim."""

    name: str
    content: bytes = b""
    method: int = 0
    claimed: int | None = None
    flags: int = 0
    at: int | None = None
    """Offset that the directory names; None is where the entry stands."""


def write_zip(path: Path, entries: Sequence[Entry]) -> Path:
    """A zip with exactly these claims, true or not."""
    body, directory = b"", b""
    for entry in entries:
        name = entry.name.encode()
        size = len(entry.content) if entry.claimed is None else entry.claimed
        sizes = (zlib.crc32(entry.content), len(entry.content) if entry.method else size, size, len(name), 0)
        common = struct.pack("<HHHHHIIIHH", 20, entry.flags, entry.method, 0, 0, *sizes)
        offset = len(body) if entry.at is None else entry.at
        directory += b"PK\x01\x02" + struct.pack("<H", 20) + common + struct.pack("<HHHII", 0, 0, 0, 0, offset) + name
        body += b"PK\x03\x04" + common + name + entry.content
    count = len(entries)
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, count, count, len(directory), len(body), 0)
    path.write_bytes(body + directory + end)
    return path


def tensors_of(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A copy of a state that can be changed."""
    return {name: tensor.clone() for name, tensor in state.items()}
