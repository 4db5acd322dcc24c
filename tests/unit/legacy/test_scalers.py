"""Scalers of old models: where they may stand, when they are refused, and that a pickled one is never read."""

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.preprocessing import StandardScaler

from models_lib.errors import BundleError, ConfigError
from models_lib.legacy import LegacyPredictor, read_legacy
from tests.unit.legacy.conftest import Entry, old_network, rewritten, some_rows, write_zip

V6, V7 = old_network(norms=False), old_network(norms=True)
ROWS = some_rows()
NAMES = [f"feature_{number}" for number in range(72)]
FITTED = StandardScaler().fit(ROWS.numpy())
MEAN, SCALE = FITTED.mean_, FITTED.scale_
STATE = V7.state_dict()
Save = Callable[..., Path]


def of_frame() -> StandardScaler:
    return StandardScaler().fit(pd.DataFrame(ROWS.numpy(), columns=NAMES))


def answers(network: torch.nn.Module, scaler: StandardScaler = FITTED) -> np.ndarray:
    with torch.inference_mode():
        logits: np.ndarray = network(
            torch.from_numpy(scaler.transform(ROWS.numpy().astype(np.float64)).astype(np.float32))
        ).numpy()
    return logits


PLACES: dict[str, tuple[dict[str, Any], str]] = {
    "lists": (
        {"scaler_mean": MEAN.tolist(), "scaler_scale": SCALE.tolist()},
        "the vectors scaler_mean and scaler_scale",
    ),
    "arrays": ({"scaler_mean": MEAN, "scaler_scale": SCALE}, "the vectors scaler_mean and scaler_scale"),
    "half arrays": (
        {"scaler_mean": MEAN.astype(np.float32), "scaler_scale": torch.from_numpy(SCALE)},
        "the vectors scaler_mean and scaler_scale",
    ),
    "dictionary": ({"scaler": {"mean": MEAN, "scale": torch.from_numpy(SCALE)}}, "the dictionary scaler"),
    "StandardScaler": ({"scaler": FITTED}, "the StandardScaler scaler"),
    "StandardScaler of a frame": ({"scaler": of_frame()}, "the StandardScaler scaler"),
    "both": (
        {"scaler": FITTED, "scaler_mean": MEAN.astype(np.float32), "scaler_scale": SCALE.astype(np.float32)},
        "the vectors scaler_mean and scaler_scale",
    ),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("network", [V6, V7])
def test_scaler_is_found_and_scales_as_scikit_learn_does(saved: Save, network: torch.nn.Module, place: str) -> None:
    beside, source = PLACES[place]
    model = read_legacy(saved({"model_state_dict": network.state_dict(), **beside}))
    assert model.scaler is not None
    assert model.scaler_from == source
    np.testing.assert_allclose(model.scaler.mean, MEAN, rtol=1e-6)
    np.testing.assert_allclose(model.scaler.scale, SCALE, rtol=1e-6)
    assert model.feature_names == (tuple(NAMES) if place == "StandardScaler of a frame" else None)
    np.testing.assert_allclose(LegacyPredictor(model).logits(ROWS.numpy()), answers(network), atol=1e-4, rtol=1e-4)


def test_scaler_in_the_state_is_found_under_prefixes(saved: Save) -> None:
    state = {**STATE, "scaler_mean": torch.from_numpy(MEAN), "scaler_scale": torch.from_numpy(SCALE)}
    model = read_legacy(saved({f"module.{name}": tensor for name, tensor in state.items()}))
    assert model.scaler_from == "the tensors scaler_mean and scaler_scale of the state"
    np.testing.assert_array_equal(model.scaler.mean, MEAN)


def of_numpy_1(entries: dict[str, bytes]) -> None:
    """The names and flags that numpy 1 and scikit-learn of before 0.22 wrote."""
    index = entries["model/data.pkl"]
    for now, before in (
        (b"numpy._core.multiarray", b"numpy.core.multiarray"),
        (b"sklearn.preprocessing._data", b"sklearn.preprocessing.data"),
        (b"\x89\x88\x87", b"K\x00K\x01\x87"),  # dtype(code, 0, 1)
    ):
        assert now in index
        index = index.replace(now, before)
    entries["model/data.pkl"] = index


def test_scaler_of_older_libraries_is_read(saved: Save) -> None:
    path = rewritten(saved({"model_state_dict": STATE, "scaler": of_frame()}), of_numpy_1)
    model = read_legacy(path)
    np.testing.assert_array_equal(model.scaler.mean, MEAN)
    assert model.feature_names == tuple(NAMES)


def test_halves_that_are_switched_off_change_nothing(saved: Save) -> None:
    for switches in ({"with_mean": False}, {"with_std": False}):
        scaler = StandardScaler(**switches).fit(ROWS.numpy())
        model = read_legacy(saved({"model_state_dict": STATE, "scaler": scaler}))
        predicted = LegacyPredictor(model).logits(ROWS.numpy())
        np.testing.assert_allclose(predicted, answers(V7, scaler), atol=1e-4, rtol=1e-4)


def test_scale_of_zero_is_read_for_the_gate_to_name(saved: Save) -> None:
    scale = SCALE.copy()
    scale[3] = 0.0
    model = read_legacy(saved({"model_state_dict": STATE, "scaler": {"mean": MEAN, "scale": scale}}))
    assert model.scaler.scale[3] == 0.0
    assert not np.isfinite(LegacyPredictor(model).logits(ROWS.numpy())).all()


def test_clip_without_a_scaler_is_noted_and_not_used(saved: Save) -> None:
    model = read_legacy(saved({"model_state_dict": STATE, "input_clip_std": 5.0}))
    assert model.input_clip_std is None
    assert model.notes == ("input_clip_std is not used: there is no scaler whose inputs it clips",)


def changed(values: np.ndarray, value: float) -> np.ndarray:
    other = values.copy()
    other[5] = value
    return other


def pair(mean: Any, scale: Any) -> dict[str, Any]:
    return {"scaler_mean": mean, "scaler_scale": scale}


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "no scale": ({"scaler_mean": MEAN}, "the vectors scaler_mean and scaler_scale: no scaler_scale"),
    "too short": (pair(MEAN[:-1], SCALE[:-1]), "mean has 71 values for a network of 72 features"),
    "scale too long": (pair(MEAN, np.append(SCALE, 1.0)), "scale has 73 values for a network of 72 features"),
    "a matrix": (pair(MEAN[None], SCALE[None]), "scaler_mean must be a vector of numbers, was float64 [1, 72]"),
    "texts": (pair(["1"] * 72, SCALE), "scaler_mean must be a vector of numbers, was a list"),
    "NaN": (pair(changed(MEAN, np.nan), SCALE), "mean of feature 6 is nan; every value must be a finite float32"),
    "infinite": (pair(MEAN, changed(SCALE, np.inf)), "scale of feature 6 is inf"),
    "too large": (pair([10**400, *MEAN.tolist()[1:]], SCALE), "mean of feature 1 is inf"),
    "disagreeing": (
        {**pair(MEAN, changed(SCALE, 7.0)), "scaler": FITTED},
        "the vectors scaler_mean and scaler_scale and the StandardScaler scaler disagree (first at feature 6)",
    ),
    "not fitted": ({"scaler": StandardScaler()}, "the StandardScaler has no mean_: it was never fitted"),
    "a switch for both": ({"scaler": StandardScaler(with_mean=False, with_std=False)}, "neither centres nor scales"),
    "a text": ({"scaler": "scaler.pkl"}, "scaler must be a StandardScaler or {mean, scale}, was a str"),
    "dictionary of others": ({"scaler": {"center": MEAN}}, "the dictionary scaler: no scaler_mean"),
    "names of others": (
        {"scaler": of_frame(), "feature_names": [name.upper() for name in NAMES]},
        "feature_names are not those that its StandardScaler was fitted on",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_unsound_scaler_is_refused(saved: Save, name: str) -> None:
    beside, told = FAULTS[name]
    with pytest.raises(BundleError) as refusal:
        read_legacy(saved({"model_state_dict": STATE, **beside}))
    assert told in str(refusal.value)


def write_vectors(path: Path, mean: Any = MEAN, scale: Any = SCALE) -> Path:
    if path.suffix == ".npz":
        np.savez(path, mean=mean, scale=scale)
    else:
        path.write_text(json.dumps({"mean": list(mean), "scale": list(scale)}))
    return path


@pytest.mark.parametrize("name", ["scaler_BTC.npz", "scaler_BTC.json"])
def test_scaler_file_gives_its_vectors(saved: Save, tmp_path: Path, name: str) -> None:
    model = read_legacy(saved(STATE), scaler_file=write_vectors(tmp_path / name))
    np.testing.assert_array_equal(model.scaler.mean, MEAN)
    np.testing.assert_array_equal(model.scaler.scale, SCALE)
    assert model.scaler_from == f"the file {name}"


def test_scaler_file_that_disagrees_with_the_model_is_refused(saved: Save, tmp_path: Path) -> None:
    path = saved({"model_state_dict": STATE, "scaler": FITTED})
    other = write_vectors(tmp_path / "other.npz", MEAN + 1.0)
    with pytest.raises(BundleError, match=r"the StandardScaler scaler and the file other\.npz disagree"):
        read_legacy(path, scaler_file=other)
    same = write_vectors(tmp_path / "same.npz", MEAN.astype(np.float32), SCALE.astype(np.float32))
    assert read_legacy(path, scaler_file=same).scaler_from == "the StandardScaler scaler"


@pytest.mark.parametrize(("name", "dump"), [("scaler_BTC.pkl", pickle.dumps), ("scaler_BTC.joblib", None)])
def test_pickled_scaler_is_never_read_and_its_export_is_told(
    saved: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, dump: Callable[[Any], bytes] | None
) -> None:
    model, pickled = saved(STATE), tmp_path / name
    if dump is None:
        joblib.dump(FITTED, pickled)
    else:
        pickled.write_bytes(dump(FITTED))
    with pytest.raises(BundleError, match="is not read: a pickle can run any program") as refusal:
        read_legacy(model, scaler_file=pickled)
    (note,) = read_legacy(model).notes
    assert note.startswith(f"{name} lies beside the model and is not read")
    told = str(refusal.value)
    assert told.removeprefix(str(pickled)) in note
    code = told.split('python -c "')[1].split('" - and', maxsplit=1)[0]  # the line does what it says
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    read = read_legacy(model, scaler_file=tmp_path / "scaler_BTC.npz")
    np.testing.assert_array_equal(read.scaler.mean, MEAN)


def test_names_of_many_pickled_scalers_are_cut(saved: Save, tmp_path: Path) -> None:
    for symbol in ("A", "B", "C", "D", "it's; rm"):
        (tmp_path / f"scaler_{symbol}.pkl").write_bytes(b"x")
    (tmp_path / "weights.pkl").write_bytes(b"x")
    *notes, last = read_legacy(saved(STATE)).notes
    assert [note.split(" ")[0] for note in notes] == ["scaler_A.pkl", "scaler_B.pkl", "scaler_C.pkl"]
    assert last == "2 more pickled scalers lie beside the model"


def npy(header: str, data: bytes = bytes(16)) -> bytes:
    padded = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded + data


def npz(path: Path, mean: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mean.npy", mean)
    return path


def pickled_npy() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return stream.getvalue()


def compressed(path: Path) -> Path:
    np.savez_compressed(path, mean=MEAN, scale=SCALE)
    return path


BAD_FILES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "1e12 numbers": (
        lambda folder: npz(
            folder / "s.npz", npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,)}")
        ),
        "mean claims [1000000000000] of float64 in",
    ),
    "objects": (lambda folder: npz(folder / "s.npz", pickled_npy()), "mean claims [1] of object in"),
    "no header": (lambda folder: npz(folder / "s.npz", b"nothing"), "mean is damaged"),
    "a header of code": (
        lambda folder: npz(folder / "s.npz", npy("__import__('os').system('true')")),
        "mean is damaged",
    ),
    "compressed": (lambda folder: compressed(folder / "s.npz"), "mean.npy is compressed"),
    "a bomb": (
        lambda folder: write_zip(folder / "s.npz", [Entry("mean.npy", b"x", method=8, claimed=1 << 31)]),
        "mean.npy is compressed",
    ),
    "no vectors": (lambda folder: npz(folder / "s.npz", b"").rename(folder / "t.npz"), "mean is damaged"),
    "a pickle by another name": (
        lambda folder: folder.joinpath("s.npz") if folder.joinpath("s.npz").write_bytes(pickle.dumps(MEAN)) else folder,
        "is no .npz (a zip)",
    ),
    "no JSON": (lambda folder: text(folder / "s.json", "{"), "is no JSON"),
    "deep JSON": (lambda folder: text(folder / "s.json", "[" * 100_000), "is no JSON"),
    "a list": (lambda folder: text(folder / "s.json", "[1]"), "must hold {mean, scale}, was a list"),
    "only a mean": (lambda folder: text(folder / "s.json", '{"mean": [1]}'), "the file s.json: no scale"),
    "JSON of texts": (
        lambda folder: text(folder / "s.json", '{"mean": ["1"], "scale": [1]}'),
        "mean must be a vector of numbers",
    ),
    "JSON of NaN": (
        lambda folder: text(folder / "s.json", json.dumps({"mean": [float("nan")] * 72, "scale": [1] * 72})),
        "mean of feature 1 is nan",
    ),
    "large": (
        lambda folder: text(folder / "s.json", " " * ((4 << 20) + 1)),
        "has 4,194,305 bytes (at most 4,194,304 allowed)",
    ),
}


def text(path: Path, content: str) -> Path:
    path.write_text(content)
    return path


@pytest.mark.parametrize("name", BAD_FILES)
def test_unsound_scaler_file_is_refused(saved: Save, tmp_path: Path, name: str) -> None:
    make, told = BAD_FILES[name]
    with pytest.raises(BundleError) as refusal:
        read_legacy(saved(STATE), scaler_file=make(tmp_path))
    assert told in str(refusal.value)


def test_scaler_file_of_another_kind_is_a_wrong_path(saved: Save, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"a scaler file must end in \.npz or \.json, was \.csv"):
        read_legacy(saved(STATE), scaler_file=tmp_path / "scaler.csv")
