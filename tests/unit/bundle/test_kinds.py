"""Repaired models and ensembles as bundles: they answer as their parts do, and what does not go together is refused."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from models_lib.architecture import EnsembleArchitecture, RepairedArchitecture
from models_lib.bundle import (
    Bundle,
    Manifest,
    MarketFacts,
    TorchPredictor,
    clamped_rows,
    ensemble_manifest,
    ensemble_tensors,
    export_bundle,
    is_sound,
    load_bundle,
    verify_bundle,
)
from models_lib.config import NetworkSection
from models_lib.errors import BundleError
from models_lib.features import RAW72, FeatureSet, compute_features
from models_lib.runtime.explain import most_moving
from models_lib.runtime.serving import ServedModel
from tests.bundles import (
    TEMPERATURE,
    edit_json,
    example_manifest,
    example_market,
    reseal,
    walk_candles,
    write_ensemble,
    write_example,
    write_repaired,
)

Change = Callable[[dict], object]
MODEL, MANIFEST = "model.safetensors", "manifest.json"
CLAMP = 14.7
"""In the middle of the raw logits that the old network gives for raw prices."""


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Sound bundles of every kind, which no test may change."""
    folder = tmp_path_factory.mktemp("kinds")
    paths = {name: folder / name for name in ("v8", "repaired", "v7", "ensemble")}
    write_example(paths["v8"])
    write_repaired(paths["repaired"], identity=True, gain=0.01, clamp=CLAMP)
    write_repaired(paths["v7"], family="v7")
    write_ensemble(paths["ensemble"], paths["repaired"], paths["v8"], temperature=1.5)
    return paths


@pytest.fixture(scope="module")
def loaded(kinds: dict[str, Path]) -> dict[str, Bundle]:
    return {name: load_bundle(path) for name, path in kinds.items()}


@pytest.fixture(scope="module")
def market() -> MarketFacts:
    return example_market(walk_candles(), RAW72)


@pytest.fixture
def copied(kinds: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    return lambda name: Path(shutil.copytree(kinds[name], tmp_path / "candidate"))


@cache
def rows_with(features: FeatureSet) -> np.ndarray:
    matrix = compute_features(walk_candles(), features=features)
    return matrix[~np.isnan(matrix).any(axis=1)][::-10][::-1]  # every tenth row and the newest


def rows_of(bundle: Bundle) -> np.ndarray:
    return rows_with(bundle.feature_set)


def test_every_kind_passes_every_check_and_says_what_it_is(kinds: dict[str, Path], loaded: dict[str, Bundle]) -> None:
    assert all(is_sound(verify_bundle(path, symbol="BTC-USD")) for path in kinds.values())
    told = {finding.check: finding.message for finding in verify_bundle(kinds["ensemble"])}
    assert told["manifest"] == "BTC-USD, ensemble, schema version 3"
    assert told["features"] == "144 features of set 'raw72+current', in order"
    assert told["tensors"].endswith("temperature 1.5")
    assert {name: bundle.manifest.schema_version for name, bundle in loaded.items()} == {
        name: 2 if name == "v8" else 3 for name in kinds
    }


def test_trained_networks_manifest_has_the_fields_of_before(loaded: dict[str, Bundle]) -> None:
    assert loaded["v8"].manifest.to_json().keys() == {
        "schema_version", "symbol", "family", "features", "envelope", "label", "splits", "network", "training",
        "data_hash", "simulated_market", "seeds", "valid_days",
    }  # fmt: skip
    tree = example_manifest(walk_candles()).to_json()
    del tree["envelope"]
    first_version = Manifest.model_validate_json(json.dumps(tree | {"schema_version": 1}))
    assert first_version.to_json() == tree | {"schema_version": 1}


@pytest.mark.parametrize("name", ["repaired", "v7", "ensemble"])
def test_manifest_of_every_kind_survives_its_file(loaded: dict[str, Bundle], name: str) -> None:
    manifest = loaded[name].manifest
    tree = manifest.to_json()
    assert Manifest.model_validate_json(json.dumps(tree)) == manifest
    assert ("network" in tree, "repair" in tree, "members" in tree) == (
        (False, False, True) if name == "ensemble" else (True, True, False)
    )


def test_same_parts_give_the_same_hash(kinds: dict[str, Path], loaded: dict[str, Bundle], tmp_path: Path) -> None:
    again = write_ensemble(tmp_path / "again", kinds["repaired"], kinds["v8"], temperature=1.5)
    assert again == loaded["ensemble"].hash


def test_architecture_is_that_of_the_manifest(loaded: dict[str, Bundle]) -> None:
    repaired = RepairedArchitecture(NetworkSection(family="v6", input_clip_std=None), CLAMP)
    assert loaded["v8"].manifest.architecture == NetworkSection()
    assert loaded["repaired"].manifest.architecture == repaired
    assert loaded["ensemble"].manifest.architecture == EnsembleArchitecture(
        ((repaired, 72, 0.4), (NetworkSection(), 72, 0.6))
    )


def test_ensemble_predicts_from_candles_what_its_members_emit(loaded: dict[str, Bundle]) -> None:
    first, second, both = (loaded[name] for name in ("repaired", "v8", "ensemble"))
    expected = (0.4 * first.logits(rows_of(first)) + 0.6 * second.logits(rows_of(second))) / 1.5
    np.testing.assert_allclose(both.logits(rows_of(both)), expected, atol=1e-5, rtol=1e-5)
    candles = walk_candles()
    predicted = both.predict(candles)
    np.testing.assert_array_equal(np.isnan(predicted), np.isnan(first.predict(candles)))
    np.testing.assert_allclose(np.nansum(predicted, axis=1)[-100:], 1.0, atol=1e-5)


def in_memory(first: Bundle, second: Bundle, weights: tuple[float, float], market: MarketFacts) -> Bundle:
    """An ensemble that is not written down."""
    manifest, tensors = (
        ensemble_manifest(first, second, weights=weights, market=market),
        ensemble_tensors(first, second),
    )
    return Bundle("2" * 64, manifest, tensors, None, TorchPredictor(manifest.architecture, tensors))


def test_ensemble_of_weight_one_answers_as_its_first_member(loaded: dict[str, Bundle], market: MarketFacts) -> None:
    first = loaded["repaired"]
    alone = in_memory(first, loaded["v8"], (1.0, 0.0), market)
    np.testing.assert_allclose(alone.logits(rows_of(alone)), first.logits(rows_of(first)), atol=1e-6, rtol=1e-6)


def test_clamped_rows_are_those_at_the_clamp(loaded: dict[str, Bundle]) -> None:
    bundle = loaded["repaired"]
    features = rows_of(bundle)
    clamped = clamped_rows(bundle, features)
    assert clamped is not None
    assert 0.01 < clamped.mean() < 0.99, "the clamp lies among the logits"
    largest = np.abs(bundle.logits(features)).max(axis=1)
    np.testing.assert_allclose(largest[clamped], CLAMP / TEMPERATURE, rtol=1e-6)
    assert (largest[~clamped] < CLAMP / TEMPERATURE).all()
    both = clamped_rows(loaded["ensemble"], rows_of(loaded["ensemble"]))
    np.testing.assert_array_equal(both, clamped)


def test_bundle_without_a_clamp_has_no_clamped_rows(loaded: dict[str, Bundle], market: MarketFacts) -> None:
    v8, quiet = loaded["v8"], loaded["v7"]
    assert clamped_rows(v8, rows_of(v8)) is None
    twins, rows = in_memory(v8, v8, (0.5, 0.5), market), np.tile(rows_of(v8), 2)
    assert clamped_rows(twins, rows) is None
    np.testing.assert_allclose(twins.logits(rows), v8.logits(rows_of(v8)), atol=1e-6, rtol=0)
    assert not np.any(clamped_rows(quiet, rows_of(quiet))), "its logits stay far below the clamp"


def test_served_ensemble_answers_one_row_and_names_what_moved_it(loaded: dict[str, Bundle]) -> None:
    bundle = loaded["ensemble"]
    prediction = ServedModel(bundle).of_features(rows_of(bundle)[-1])
    np.testing.assert_allclose(prediction.probabilities, bundle.predict(walk_candles())[-1], atol=1e-6)
    assert (prediction.finite, prediction.outside) == (True, 0)
    moved = most_moving(bundle, prediction, class_index=2, most=144)
    assert [name for name, _ in moved if name in RAW72.names], "the first member's columns have a part"
    assert sorted(name for name, _ in moved) == sorted(bundle.feature_set.names)


@pytest.mark.parametrize("name", ["repaired", "v7", "ensemble"])
def test_host_loads_every_kind_without_torch(kinds: dict[str, Path], loaded: dict[str, Bundle], name: str) -> None:
    served = load_bundle(kinds[name], only_as_served=True)
    rows = rows_of(served)[-64:]
    np.testing.assert_array_equal(served.logits(rows), loaded[name].logits(rows))


@pytest.mark.parametrize(
    ("name", "told"), [("repaired", "is a repaired v6; only v8"), ("ensemble", "is an ensemble; only v8")]
)
def test_export_refuses_other_kinds(kinds: dict[str, Path], tmp_path: Path, name: str, told: str) -> None:
    with pytest.raises(BundleError, match=told):
        export_bundle(kinds[name], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_members_that_do_not_go_together_make_no_ensemble(loaded: dict[str, Bundle], market: MarketFacts) -> None:
    of_ether = replace(loaded["v8"], manifest=loaded["v8"].manifest.model_copy(update={"symbol": "ETH-USD"}))
    for second, weights, message in (
        (of_ether, (0.5, 0.5), "member 1: symbol must be the ensemble's"),
        (loaded["ensemble"], (0.5, 0.5), "member 1 is an ensemble itself"),
        (loaded["v8"], (0.5, 0.6), "the members' weights must sum to 1"),
        (loaded["v8"], (-0.5, 1.5), "weight: Input should be greater than or equal to 0"),
    ):
        with pytest.raises(BundleError, match=message):
            ensemble_manifest(loaded["repaired"], second, weights=weights, market=market)


# damaged and forged


def members(change: Callable[[list], object]) -> Change:
    return lambda tree: change(tree["members"])


def first_of_members(change: Change) -> Change:
    return lambda tree: change(tree["members"][0]["manifest"])


def swap(names: list[str]) -> None:
    names[0], names[1] = names[1], names[0]


def nested(tree: dict) -> None:
    inner = json.loads(json.dumps(tree))
    tree["members"][0]["manifest"] = inner


FORGED_MANIFESTS: dict[str, tuple[str, Change, str]] = {
    "repaired as version 2": (
        "repaired",
        lambda tree: tree.update(schema_version=2),
        "family v6-repaired cannot be of",
    ),
    "trained as version 3": (
        "v8",
        lambda tree: tree.update(schema_version=3),
        "family v8 cannot be of schema version 3",
    ),
    "repair taken away": (
        "repaired",
        lambda tree: tree.pop("repair"),
        "family v6-repaired must have a network: True, a rep",
    ),
    "repair without a family": (
        "repaired",
        lambda tree: tree.update(family="v6"),
        "family v6 cannot be of schema version 3",
    ),
    "repair of a v8": (
        "v8",
        lambda tree: tree.update(family="v8-repaired", schema_version=3),
        "family: Input should be 'v6', 'v7', 'v8', 'v6-repaired', 'v7-repaired' or 'ensemble'",
    ),
    "another old family": ("repaired", lambda tree: tree.update(family="v7-repaired"), "family must equal network.fam"),
    "network taken away": ("repaired", lambda tree: tree.pop("network"), "has False, True, 0"),
    "clamp 0": (
        "repaired",
        lambda tree: tree["repair"].update(clamp=0.0),
        "repair.clamp: Input should be greater than",
    ),
    "clamp null": (
        "repaired",
        lambda tree: tree["repair"].update(clamp=None),
        "repair.clamp: Input should be a valid n",
    ),
    "clamp that cuts nothing": (
        "repaired",
        lambda tree: tree["repair"].update(clamp=1e30),
        "repair.clamp: Input should be less than or equal to 15",
    ),
    "clamp endless": (
        "repaired",
        lambda tree: tree["repair"].update(clamp=float("inf")),
        "Infinity is not JSON",
    ),
    "clamp text": (
        "repaired",
        lambda tree: tree["repair"].update(clamp="15"),
        "repair.clamp: Input should be a valid n",
    ),
    "another clamp": ("repaired", lambda tree: tree["repair"].update(clamp=13.0), "golden vectors: a "),
    "scaler unheard of": (
        "repaired",
        lambda tree: tree["repair"].update(scaler="magic"),
        "repair.scaler: Input should",
    ),
    "source without hash": ("repaired", lambda tree: tree["repair"].update(source_sha256="x"), "repair.source_sha256"),
    "clipped at once": ("v7", lambda tree: tree["network"].update(input_clip_std=0.1), "golden vectors: a "),
    "members of a repaired": (
        "repaired",
        lambda tree: tree.update(members=[]) or tree.update(network=None),
        "has False",
    ),
    "one member": ("ensemble", members(lambda parts: parts.pop()), "members: 2; has False, False, 1"),
    "three members": ("ensemble", members(lambda parts: parts.append(parts[0])), "members: 2; has False, False, 3"),
    "no members": ("ensemble", lambda tree: tree.pop("members"), "members: 2; has False, False, 0"),
    "network of an ensemble": ("ensemble", lambda tree: tree.update(network={}), "members: 2; has True, False, 2"),
    "ensemble of an ensemble": ("ensemble", nested, "member 0 is an ensemble itself"),
    "member of another symbol": (
        "ensemble",
        first_of_members(lambda tree: tree.update(symbol="ETH-USD")),
        "member 0: symbol must be the ensemble's",
    ),
    "member of another label": (
        "ensemble",
        first_of_members(lambda tree: tree["label"]["section"].update(horizon_minutes=30)),
        "member 0: label.section must be the ensemble's",
    ),
    "member's own fault": (
        "ensemble",
        first_of_members(lambda tree: tree.update(schema_version=2)),
        "members.0.manifest: family v6-repaired cannot be of schema version 2",
    ),
    "weights of 1.1": ("ensemble", members(lambda parts: parts[0].update(weight=0.5)), "weights must sum to 1, were"),
    "weights a hair off": (
        "ensemble",
        members(lambda parts: parts[0].update(weight=0.4 + 1e-8)),
        "weights must sum to 1, were",
    ),
    "weight below 0": (
        "ensemble",
        members(lambda parts: parts[0].update(weight=-0.4)),
        "members.0.weight: Input should",
    ),
    "weight null": ("ensemble", members(lambda parts: parts[0].update(weight=None)), "members.0.weight: Input should"),
    "weights swapped": (
        "ensemble",
        members(lambda parts: [part.update(weight=1.0 - part["weight"]) for part in parts]),
        "golden vectors: a ",
    ),
    "members swapped": ("ensemble", members(lambda parts: parts.reverse()), "must be the members' one after the other"),
    "features in another order": (
        "ensemble",
        lambda tree: swap(tree["features"]["names"]),
        "features.names must be the members' one after the other",
    ),
    "features of another set": (
        "ensemble",
        lambda tree: tree["features"].update(set="current+raw72"),
        "features.set must be the members' one after the other",
    ),
    "features that nobody has": (
        "ensemble",
        lambda tree: (
            tree["features"].update(set="magic+current"),
            tree["members"][0]["manifest"]["features"].update(set="magic"),
        ),
        "features.set is 'magic+current', this code has",
    ),
    "member that is no hash": ("ensemble", members(lambda parts: parts[0].update(bundle="../x")), "members.0.bundle: "),
    "envelope of the first alone": (
        "ensemble",
        lambda tree: [tree["envelope"].update({end: tree["envelope"][end][:72]}) for end in ("low", "high")],
        "the envelope has 72 ranges for 144 features",
    ),
}


@pytest.mark.parametrize("name", FORGED_MANIFESTS)
def test_forged_manifest_is_refused(copied: Callable[[str], Path], name: str) -> None:
    kind, change, message = FORGED_MANIFESTS[name]
    folder = copied(kind)
    edit_json(folder / MANIFEST, change)
    assert_refused(folder, message)


def put(name: str, value: float) -> Change:
    def change(arrays: dict[str, np.ndarray]) -> None:
        arrays[name].flat[0] = value

    return change


def exchange(arrays: dict[str, np.ndarray]) -> None:
    for half in ("scaler_mean", "scaler_scale"):
        arrays[half] = np.roll(arrays[half], 72)


FORGED_TENSORS: dict[str, tuple[str, Change, str]] = {
    "weight of a member missing": (
        "ensemble",
        lambda arrays: arrays.pop("members.0.linears.1.weight"),
        "members.0.*: the v6-repaired model's tensors are not those of the network: missing ['linears.1.weight']",
    ),
    "temperature of a member missing": (
        "ensemble",
        lambda arrays: arrays.pop("members.0.temperature"),
        "missing ['temperature']",
    ),
    "temperature of a member 0": (
        "ensemble",
        put("members.1.temperature", 0.0),
        "members.1.temperature must be above 0, was 0",
    ),
    "temperature of a member mis-shaped": (
        "ensemble",
        lambda arrays: arrays.update({"members.1.temperature": np.ones(2, np.float32)}),
        "members.1.temperature must be [1], was [2]",
    ),
    "temperature of a member another": ("ensemble", put("members.1.temperature", 0.01), "golden vectors: a "),
    "tensor of a third member": (
        "ensemble",
        lambda arrays: arrays.update({"members.2.bias": np.ones(1, np.float32)}),
        "unknown ['members.2.bias']",
    ),
    "scaler in a member too": (
        "ensemble",
        lambda arrays: arrays.update({"members.0.scaler_mean": np.zeros(72, np.float32)}),
        "unknown ['members.0.scaler_mean']",
    ),
    "scaler of one member": (
        "ensemble",
        lambda arrays: arrays.update({half: arrays[half][:72] for half in ("scaler_mean", "scaler_scale")}),
        "scaler_mean must be [144], was [72]",
    ),
    "scalers exchanged": ("ensemble", exchange, "golden vectors: "),
    "NaN in a member": (
        "ensemble",
        put("members.0.linears.0.bias", np.nan),
        "NaN or infinity in members.0.linears.0.bias",
    ),
    "norm in a repaired v6": (
        "repaired",
        lambda arrays: arrays.update({"norms.0.weight": np.ones(256, np.float32)}),
        "unknown ['norms.0.weight']",
    ),
    "norm of a repaired v7 missing": (
        "v7",
        lambda arrays: arrays.pop("norms.1.running_var"),
        "missing ['norms.1.running_var']",
    ),
    "scaler of a repaired missing": ("repaired", lambda arrays: arrays.pop("scaler_mean"), "no scaler_mean"),
    "float64 in a repaired": (
        "repaired",
        lambda arrays: arrays.update({"linears.0.bias": arrays["linears.0.bias"].astype(np.float64)}),
        "linears.0.bias is float64",
    ),
}


@pytest.mark.parametrize("name", FORGED_TENSORS)
def test_forged_tensors_are_refused(copied: Callable[[str], Path], name: str) -> None:
    kind, change, message = FORGED_TENSORS[name]
    folder = copied(kind)
    arrays = {name: array.copy() for name, array in load_file(folder / MODEL).items()}
    change(arrays)
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / MODEL)
    assert_refused(folder, message)


def assert_refused(folder: Path, message: str) -> None:
    reseal(folder)
    with pytest.raises(BundleError) as refusal:
        load_bundle(folder)
    assert message in str(refusal.value)


def test_forging_alone_is_not_the_fault(copied: Callable[[str], Path]) -> None:
    folder = copied("ensemble")
    edit_json(folder / MANIFEST, lambda tree: tree.update(valid_days=8))
    reseal(folder)
    assert load_bundle(folder).manifest.valid_days == 8


@pytest.mark.parametrize(("steps", "sound"), [(2, True), (40, False)])
def test_raw_feature_may_differ_by_the_rounding_of_float32_and_by_no_more(
    kinds: dict[str, Path], tmp_path: Path, steps: int, sound: bool
) -> None:
    """A close near 79,568 is known to 0.008, and the identity scaler's scale is 1: another processor may round otherwise."""
    folder = tmp_path / "repaired"
    shutil.copytree(kinds["repaired"], folder)
    golden = load_file(folder / "golden" / "golden.safetensors")
    close = golden["features"][:, 3]
    golden["features"][:, 3] = close + np.float32(steps) * np.spacing(close)
    save_file(golden, folder / "golden" / "golden.safetensors")
    reseal(folder)
    assert is_sound(verify_bundle(folder)) is sound
