"""Files that are no torch zip, and torch zips that are damaged: what they are, and what to do."""

import gzip
import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import joblib
import numpy as np
import pytest
import safetensors.torch
import torch

from models_lib.errors import BundleError, ConfigError
from models_lib.legacy import read_legacy
from tests.unit.legacy.conftest import old_network, rewritten

STATE = old_network(norms=False).state_dict()
ARRAYS = {name: tensor.numpy() for name, tensor in STATE.items()}


def as_before_torch_1_6() -> bytes:
    stream = io.BytesIO()
    torch.save(STATE, stream, _use_new_zipfile_serialization=False)
    return stream.getvalue()


def as_joblib(compress: int) -> bytes:
    stream = io.BytesIO()
    joblib.dump(ARRAYS, stream, compress=compress)
    return stream.getvalue()


OTHERS: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "is empty. Copy it again"),
    "zeros": (lambda: bytes(100_000), "holds only zeros: its copy failed"),
    "before torch 1.6": (as_before_torch_1_6, "is of before torch 1.6, whose files are bare pickles and are not read"),
    "tar of torch 0.1": (lambda: b"x" * 257 + b"ustar" + bytes(300), "is of before torch 1.6"),
    "pickle": (lambda: pickle.dumps(ARRAYS), "is a bare pickle, which could run any program when it is read"),
    "old pickle": (lambda: pickle.dumps(np.zeros(3), protocol=2), "is a bare pickle"),
    "joblib": (lambda: as_joblib(0), "is a joblib file, which could run any program"),
    "compressed joblib": (lambda: as_joblib(3), "is compressed, by joblib or gzip perhaps"),
    "gzip": (lambda: gzip.compress(b"x"), "is compressed, by joblib or gzip perhaps"),
    "safetensors": (lambda: safetensors.torch.save(dict(STATE)), "is a safetensors file. It is safe, but no legacy"),
    "HDF5": (lambda: b"\x89HDF\r\n\x1a\n" + bytes(64), "is an HDF5 file, of Keras perhaps"),
    "LFS pointer": (lambda: b"version https://git-lfs.github.com/spec/v1\noid x\n", "is a Git LFS pointer"),
    "text": (lambda: b"accuracy,0.7\n", "is text, not a model of torch"),
    "noise": (lambda: np.random.default_rng(1).bytes(5_000), "is not what torch.save writes (a zip)"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_file_is_refused_with_what_it_is(tmp_path: Path, name: str) -> None:
    make, told = OTHERS[name]
    path = tmp_path / "model.pt"
    path.write_bytes(make())
    with pytest.raises(BundleError) as refusal:
        read_legacy(path)
    assert str(refusal.value).startswith(f"{path} {told}")


@pytest.mark.parametrize("kept", [4, 30, 1_000, 200_000, -1])
def test_truncated_file_is_refused(sound: Path, kept: int) -> None:
    sound.write_bytes(sound.read_bytes()[:kept])
    with pytest.raises(BundleError, match="the zip is truncated or damaged"):
        read_legacy(sound)


def test_single_flipped_bits_are_refused_or_change_no_answer(sound: Path) -> None:
    whole, before = sound.read_bytes(), read_legacy(sound)
    rng = np.random.default_rng(2)
    refused = 0
    for place in rng.integers(0, len(whole), 150):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(0, 8))
        sound.write_bytes(damaged)
        try:
            after = read_legacy(sound)
        except BundleError:
            refused += 1
            continue
        for name, array in before.tensors.items():
            np.testing.assert_array_equal(after.tensors[name], array)
    assert refused > 140  # the few others fall between the entries


def test_missing_storage_is_refused(sound: Path) -> None:
    with pytest.raises(BundleError, match="says that data/3 holds 128 numbers of 4 bytes; it holds nothing"):
        read_legacy(rewritten(sound, lambda entries: entries.pop("model/data/3")))


def test_short_storage_is_refused(sound: Path) -> None:
    with pytest.raises(BundleError, match="says that data/0 holds 18,432 numbers of 4 bytes; it holds 40 bytes"):
        read_legacy(rewritten(sound, lambda entries: entries.update({"model/data/0": bytes(40)})))


def test_missing_file_folder_and_pipe_are_wrong_paths(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, told in (
        (tmp_path / "absent.pt", "does not exist"),
        (tmp_path, "is no plain file"),
        (tmp_path / "pipe", "is no plain file"),
    ):
        with pytest.raises(ConfigError, match=told):
            read_legacy(path)
    with pytest.raises(ConfigError, match="does not exist"):
        read_legacy(tmp_path / "absent.pt", scaler_file=tmp_path / "absent.npz")
