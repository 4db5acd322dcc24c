"""What is wrong with a model: any file of before the bundle, or any bundle, held against candles of its symbol.

The model answers as it would in production: with its own scaler, clamp and temperature, or without. It is read, never
changed. It is judged by the same gates as a candidate of a run, on the test part of the candles; there is no champion to
be compared with.

What does not belong here: the figures (models_lib.legacy.diagnosis), the causes (models_lib.legacy.causes), the words and
the page (models_lib.reports).
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models_lib.bundle import Manifest, load_bundle
from models_lib.candles.sources import SourceOpener
from models_lib.config import RunConfig
from models_lib.errors import ConfigError, DataError
from models_lib.evaluation.evaluation import NO_DIRECTION
from models_lib.features import FeatureSet
from models_lib.legacy import LegacyPredictor, read_legacy
from models_lib.legacy.causes import Examined, Limits, ModelFacts, SkillFigures, likely_causes, remedy_for
from models_lib.legacy.diagnosis import BestTemperature, FirstLayer, best_temperature, examine_answers, examine_layer
from models_lib.legacy.first_layers import layer_of_bundle, layer_of_file
from models_lib.registry import RegistryOpener
from models_lib.registry.commands import find_bundle
from models_lib.reports.diagnosis import Diagnosis, ExaminedRows
from models_lib.reports.diagnosis_page import render_diagnosis
from models_lib.steps.judgement import JudgedModel, ModelAnswers, answers_of, answers_of_predictor, judge_answers
from models_lib.steps.market import Market, open_market, with_candles
from models_lib.steps.old_files import features_of, symbol_of
from models_lib.steps.report import label_name
from models_lib.steps.written import write_table_and_page

NAME = "diagnosis"
_NOT_CALIBRATED = {NO_DIRECTION: "no directional skill shown"}


@dataclass(frozen=True, kw_only=True)
class DiagnosisRequest:
    """What a person asked for.

    Attributes:
        reference: a legacy file, a bundle folder, or the start of a kept bundle's hash.
        symbol: whose candles; None: the model's own, or the one in the file's name.
        candles: folder with <SYMBOL>.parquet; None: the configured source.
        features: name of a set or a file that lists features; None: what the model says, or its family's.
        scaler: .npz or .json with a scaler that was kept beside a legacy file.
    """

    reference: str
    symbol: str | None = None
    candles: Path | None = None
    features: str | None = None
    scaler: Path | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class _Opened:
    """A model that was read, whatever it came from."""

    facts: ModelFacts
    features: FeatureSet
    layer: FirstLayer
    manifest: Manifest | None
    answers: Callable[[Market], ModelAnswers]
    temperature: float


def diagnose(
    request: DiagnosisRequest, config: RunConfig, *, open_source: SourceOpener, registry: RegistryOpener, now: datetime
) -> Diagnosis:
    """The model's figures, its gates, the likely causes and the remedy.

    Args:
        request: which model, and on what.
        config: candles where the request names none, label, splits, gates.
        open_source: opens the candles.
        registry: opened to find a kept bundle.
        now: aware; the age of the newest bar is held against it.

    Raises:
        ConfigError: no such file, folder, symbol or feature.
        BundleError: the file or the bundle is refused.
        DataError: the candles are missing or break a rule, or no row has features.
    """
    opened = _open(request, config, registry)
    config = _config_for(config, opened, request.candles)
    market = open_market(opened.facts.symbol, config, source=open_source(config), now=now)
    rows = market.judged_rows
    if rows.size == 0:
        raise DataError(
            f"{market.symbol} ({market.origin}): none of {len(market.frame):,} rows has features (at least 1 needed). "
            f"Fetch a longer window without holes."
        )
    answers = opened.answers(market)
    judged = judge_answers(market, answers, config, champion=None)
    examined = Examined(
        model=opened.facts,
        layer=examine_layer(opened.layer, answers.matrix[rows], answers.names),
        answers=examine_answers(answers.logits),
        skill=_skill(market, judged, answers.logits * opened.temperature, config),
        clamped_share=answers.clamped_share,
        limits=_limits(config),
    )
    causes = likely_causes(examined)
    classification = judged.evaluation.classification
    return Diagnosis(
        examined=examined,
        causes=causes,
        remedy=remedy_for(opened.facts, causes, failed=judged.failed_blocking, candles=config.data.path),
        written_at=now,
        label=label_name(config.label),
        origin=market.origin,
        simulated_market=market.simulated_market,
        rows=_examined_rows(market, opened.manifest),
        gates=judged.gates,
        gates_section=config.gates,
        metrics=None if market.labelled is None else judged.metrics,
        words=_honest_words(judged),
        logits=answers.logits,
        reliability=None if classification is None else classification.reliability,
    )


def write_diagnosis(diagnosis: Diagnosis, folder: Path) -> tuple[Path, Path]:
    """Writes the JSON and the page into `folder`; returns both paths.

    Raises:
        ConfigError: the folder cannot be written.
    """
    return write_table_and_page(folder, NAME, table=diagnosis.to_json(), page=render_diagnosis(diagnosis))


def _open(request: DiagnosisRequest, config: RunConfig, registry: RegistryOpener) -> _Opened:
    """The model that the request names: a file is a legacy one, a folder or the start of a hash a bundle."""
    path = Path(request.reference)
    if path.is_file():
        return _open_file(request, config)
    if not path.is_dir() and not re.fullmatch(r"[0-9a-f]+", request.reference):
        raise ConfigError(
            f"{path}: there is no such file or folder. Name a .pt file, a bundle folder, or the start of a kept hash."
        )
    for option, given in (("--features", request.features), ("--scaler", request.scaler)):
        if given is not None:
            raise ConfigError(f"{option} is for legacy files: the bundle {path} has its own. Leave the option out.")
    return _open_bundle(request, registry)


def _open_file(request: DiagnosisRequest, config: RunConfig) -> _Opened:
    path = Path(request.reference)
    model = read_legacy(path, scaler_file=request.scaler)
    features = features_of(model, request.features)
    predictor = LegacyPredictor(model)
    facts = ModelFacts(
        reference=request.reference,
        source="file",
        family=model.family,
        symbol=symbol_of(model, request.symbol, config),
        identity=model.sha256,
        feature_set=features.name,
        has_batch_norm=_has_batch_norm(model.tensors),
        has_scaler=model.scaler is not None,
        scaler_from=model.scaler_from,
        temperature=model.temperature,
        notes=model.notes,
    )
    return _Opened(
        facts=facts,
        features=features,
        layer=layer_of_file(model),
        manifest=None,
        # A file with weights that are not finite was refused.
        answers=lambda market: answers_of_predictor(
            predictor, market, features, scaler=model.scaler, num_non_finite_weights=0
        ),
        temperature=predictor.temperature,
    )


def _open_bundle(request: DiagnosisRequest, registry: RegistryOpener) -> _Opened:
    bundle = load_bundle(find_bundle(request.reference, registry=registry), symbol=request.symbol)
    manifest, repair = bundle.manifest, bundle.manifest.repair
    features = manifest.features.feature_set()
    facts = ModelFacts(
        reference=request.reference,
        source="bundle",
        family=manifest.family,
        symbol=manifest.symbol,
        identity=bundle.hash,
        feature_set=features.name,
        has_batch_norm=_has_batch_norm(bundle.tensors),
        has_scaler=True,
        scaler_from="" if repair is None else repair.scaler,
        temperature=bundle.predictor.temperature,
        clamp=None if repair is None else repair.clamp,
    )
    return _Opened(
        facts=facts,
        features=features,
        layer=layer_of_bundle(manifest.architecture, bundle.tensors),
        manifest=manifest,
        answers=lambda market: answers_of(bundle, market),
        temperature=bundle.predictor.temperature,
    )


def _has_batch_norm(names: Iterable[str]) -> bool:
    return any(name.endswith("running_mean") for name in names)


def _config_for(config: RunConfig, opened: _Opened, candles: Path | None) -> RunConfig:
    """The configuration with the candles that were asked for, and with the question that a bundle was trained on."""
    if candles is not None:
        config = with_candles(config, candles)
    if opened.manifest is not None:
        config = config.model_copy(update={"label": opened.manifest.label.section})
    return config


def _limits(config: RunConfig) -> Limits:
    gates = config.gates
    return Limits(
        ece=gates.calibration_error.limit,
        over_99=gates.overconfidence.limit,
        min_lift=gates.beats_mechanical_rule.min_lift,
        clamped_share=gates.logit_range.max_clamped_share,
    )


def _skill(
    market: Market, judged: JudgedModel, raw_logits: NDArray[np.floating], config: RunConfig
) -> SkillFigures | None:
    """What the labels tell; None without labels."""
    if market.labelled is None:
        return None
    metrics = judged.evaluation.metrics
    return SkillFigures(
        accuracy=metrics["accuracy"],
        ece=metrics["ece"],
        nll=metrics["nll"],
        rule_accuracy=metrics["mechanical_rule_accuracy"],
        best=_best(market, raw_logits, config),
    )


def _best(market: Market, raw_logits: NDArray[np.floating], config: RunConfig) -> BestTemperature | None:
    return best_temperature(
        raw_logits,
        market.labels.classes[market.judged_rows],
        ece_limit=config.gates.calibration_error.limit,
        bins=config.evaluation.ece_bins,
    )


def _honest_words(judged: JudgedModel) -> tuple[str, ...]:
    """The words of the verdict; none without labels, and what a one-line rule beats is not called calibrated."""
    if judged.evaluation.classification is None:
        return ()
    if not {"calibration_error", "beats_mechanical_rule"} & set(judged.failed_blocking):
        return judged.words
    return tuple(_NOT_CALIBRATED.get(words, words) for words in judged.words)


def _examined_rows(market: Market, manifest: Manifest | None) -> ExaminedRows:
    times = market.times[market.judged_rows]
    seen = None if manifest is None else int(np.count_nonzero(~market.unseen([manifest])))
    first, last = (datetime.fromtimestamp(int(time) / 1_000, UTC) for time in (times[0], times[-1]))
    return ExaminedRows(
        used=times.size,
        first=first,
        last=last,
        seen=seen,
        old_network=manifest is not None and manifest.holds_old_network,
        why_unlabelled=market.unlabelled_because,
    )
