"""Opening a bundle: every check that stands between a folder and a model, in the order in which each can be made.

    files      plain files of a bundle, nothing else, no links
    hashes     every file is what hashes.json says, none is missing or extra, the bundle is the one that was asked for
    manifest   schema version, fields, symbol
    features   this code has the set: names, order, version and windows are the same
    tensors    types, shapes, finite, scaler, temperature
    engine     model.onnx takes the features and gives the answers
    golden     features and probabilities come out as recorded, of torch and of model.onnx
    run facts  the gate report is about this bundle

`load_bundle` stops at the first fault; `verify_bundle` says what was found at each check. A check that fails ends both:
what comes after it would speak about something unknown.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from models_lib.bundle import layout
from models_lib.bundle.facts import RunFacts, parse_facts
from models_lib.bundle.golden import parse_golden, replay
from models_lib.bundle.hashes import check_hashes, complete_files
from models_lib.bundle.manifest import Manifest, parse_manifest
from models_lib.bundle.predictor import OnnxPredictor, Predictor, TorchPredictor
from models_lib.bundle.tensors import SCALER_SCALE, TEMPERATURE, Tensors, checked_tensors, decode
from models_lib.errors import BundleError
from models_lib.features import FeatureSet, compute_features

_LOG = logging.getLogger(__name__)

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        level: ok; warning: the bundle may be used; error: it may not, and later checks were not made.
        check: name of the check.
        message: one sentence.
    """

    level: Level
    check: str
    message: str


@dataclass(frozen=True, eq=False)
class Bundle:
    """A model that passed every check.

    Attributes:
        hash: its identity.
        manifest: what it is.
        tensors: weights, scaler and temperature, float32, read-only.
        facts: the run that made and judged it; None for a candidate that is not judged yet.
        predictor: features to logits and probabilities.
    """

    hash: str
    manifest: Manifest
    tensors: Tensors
    facts: RunFacts | None
    predictor: Predictor

    @cached_property
    def feature_set(self) -> FeatureSet:
        """The features that it reads, as this code computes them."""
        return self.manifest.features.feature_set()

    def features(self, candles: pd.DataFrame) -> npt.NDArray[np.float32]:
        """Its inputs, float32 [N, F], one row a candle; NaN in the warm-up rows of each segment.

        Args:
            candles: checked candles of the bundle's symbol, sorted, N rows.
        """
        return compute_features(candles, features=self.feature_set)

    def predict(self, candles: pd.DataFrame) -> npt.NDArray[np.float32]:
        """Calibrated probabilities float32 [N, 3] of DOWN, NEUTRAL, UP, one row a candle.

        Row t uses candles closed at or before t. NaN where the features are: the warm-up rows of each segment.

        Args:
            candles: checked candles of the bundle's symbol, sorted, N rows.

        Raises:
            BundleError: a row with features gives no finite answer.
        """
        features = self.features(candles)
        known = ~np.isnan(features).any(axis=1)
        probabilities = np.full((len(features), 3), np.nan, dtype=np.float32)
        probabilities[known] = self.predictor.probabilities(features[known])
        if not np.isfinite(probabilities[known]).all():
            raise BundleError(
                f"{self.manifest.symbol}: bundle {self.hash[:12]} gives NaN for rows with features. "
                f"Check the candles' volumes and prices for extreme values."
            )
        return probabilities

    def logits(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Logits after the temperature, float32 [N, 3], of feature rows [N, F] without NaN."""
        return self.predictor.logits(features)


def load_bundle(
    folder: Path | str, *, symbol: str | None = None, expected_hash: str | None = None, only_as_served: bool = False
) -> Bundle:
    """The model in a bundle folder, after every check; warnings are logged.

    Args:
        folder: the bundle. A folder that is named by a hash must hold the bundle of that hash.
        symbol: the symbol that it is wanted for; None takes any.
        expected_hash: the identity that it must have; None takes any.
        only_as_served: without torch, as on a trading host: model.onnx must be there, and that its answers are those of
            the tensors is not proven again; the store takes no bundle of which it was not.

    Raises:
        ConfigError: there is no such folder, or it cannot be read.
        BundleError: the first fault.
    """
    reader = _Reader(Path(folder), symbol=symbol, expected_hash=expected_hash, only_as_served=only_as_served)
    for check, look in reader.checks():
        look()
        for warning in reader.taken_warnings():
            _LOG.warning("%s: %s: %s", folder, check, warning)
    return reader.bundle()


def verify_bundle(
    folder: Path | str, *, symbol: str | None = None, expected_hash: str | None = None
) -> tuple[Finding, ...]:
    """What each check of `load_bundle` finds, up to the first error.

    Raises:
        ConfigError: there is no such folder, or it cannot be read.
    """
    reader = _Reader(Path(folder), symbol=symbol, expected_hash=expected_hash, only_as_served=False)
    return tuple(_findings(reader, reader.checks()))


def is_sound(findings: Iterable[Finding]) -> bool:
    """Whether no check found an error."""
    return all(finding.level != "error" for finding in findings)


def _findings(reader: "_Reader", checks: Iterable[tuple[str, Callable[[], str]]]) -> Iterable[Finding]:
    for check, look in checks:
        try:
            fact = look()
        except BundleError as error:
            yield Finding("error", check, str(error))
            return
        yield Finding("ok", check, fact)
        yield from (Finding("warning", check, warning) for warning in reader.taken_warnings())


class _Reader:
    """One pass over a folder; each check stores what the next ones need and returns the fact that it established."""

    hash: str
    _files: dict[str, bytes]
    _manifest: Manifest
    _features: FeatureSet
    _tensors: Tensors

    def __init__(self, folder: Path, *, symbol: str | None, expected_hash: str | None, only_as_served: bool) -> None:
        self._folder = folder
        self._symbol = symbol
        self._expected = expected_hash
        self._facts: RunFacts | None = None
        self._warnings: list[str] = []
        self._only_as_served = only_as_served
        self._predictors: list[Predictor] = []

    def checks(self) -> tuple[tuple[str, Callable[[], str]], ...]:
        return (
            ("files", self.check_files),
            ("hashes", self.check_hashes),
            ("manifest", self.check_manifest),
            ("features", self.check_features),
            ("tensors", self.check_tensors),
            ("engine", self.check_engine),
            ("golden", self.check_golden),
            ("run facts", self.check_facts),
        )

    def taken_warnings(self) -> list[str]:
        taken, self._warnings = self._warnings, []
        return taken

    def bundle(self) -> Bundle:
        return Bundle(self.hash, self._manifest, self._tensors, self._facts, self._predictors[-1])

    def check_files(self) -> str:
        self._files = complete_files(self._folder)
        return f"{len(self._files)} files, {sum(map(len, self._files.values())):,} bytes"

    def check_hashes(self) -> str:
        self.hash = check_hashes(self._folder, self._files, expected_hash=self._expected)
        return f"bundle {self.hash}"

    def check_manifest(self) -> str:
        self._manifest = parse_manifest(self._files[layout.MANIFEST_FILE])
        symbol = self._manifest.symbol
        if self._symbol is not None and symbol != self._symbol:
            raise BundleError(
                f"{self._folder}: this is a bundle of {symbol}, not of {self._symbol}. Choose one of {self._symbol}."
            )
        return f"{symbol}, {self._manifest.family}, schema version {self._manifest.schema_version}"

    def check_features(self) -> str:
        trained = self._manifest.features
        self._features = trained.feature_set()
        envelope = self._manifest.envelope
        if envelope is not None and len(envelope.low) != len(trained.names):
            raise BundleError(
                f"{layout.MANIFEST_FILE}: the envelope has {len(envelope.low)} ranges for {len(trained.names)} features. "
                f"Take the bundle from the store again."
            )
        return f"{len(trained.names)} features of set {trained.set!r}, in order"

    def check_tensors(self) -> str:
        arrays = decode(self._files[layout.MODEL_FILE], name=layout.MODEL_FILE)
        self._tensors = checked_tensors(arrays, num_features=len(self._manifest.features.names))
        if not self._only_as_served:
            self._predictors.append(TorchPredictor(self._manifest.architecture, self._tensors))
        return f"{len(self._tensors)} tensors, finite, scaler present, temperature {self._tensors[TEMPERATURE][0]:.4g}"

    def check_engine(self) -> str:
        if layout.ONNX_FILE in self._files:
            self._predictors.append(OnnxPredictor(self._files[layout.ONNX_FILE], self._tensors))
            return f"{layout.ONNX_FILE} in ONNX Runtime"
        if not self._predictors:
            raise BundleError(
                f"{self._folder}: no {layout.ONNX_FILE}; a host serves nothing else. Train again with this version of crpbot."
            )
        return f"no {layout.ONNX_FILE}: the tensors in torch"

    def check_golden(self) -> str:
        golden = parse_golden(self._files[layout.GOLDEN_FILE])
        fact = replay(golden, self._predictors, self._tensors[SCALER_SCALE], features=self._features)
        if self._manifest.features.code_hash != self._features.code_hash():
            self._warnings.append(
                "the feature code changed since this bundle was made; the golden vectors still come out the same"
            )
        return fact

    def check_facts(self) -> str:
        if layout.RUN_FILE not in self._files:
            return "not judged yet: no run.json"
        facts = parse_facts(self._files[layout.RUN_FILE])
        if facts.bundle != self.hash or facts.symbol != self._manifest.symbol:
            raise BundleError(
                f"{layout.RUN_FILE} is about bundle {facts.bundle[:12]} of {facts.symbol}, not about {self.hash[:12]} of "
                f"{self._manifest.symbol}. Take the bundle from the store again."
            )
        self._facts = facts
        failed = facts.failed_blocking()
        return f"run {facts.run_id}, " + (f"held by {', '.join(failed)}" if failed else "no blocking gate failed")
