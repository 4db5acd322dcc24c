"""`crpbot repair`: a legacy file mended without training, judged by every gate, and written as a bundle of its own.

In order: fit what a repair may fit (models_lib.legacy.repair), write the best variant as a bundle, read it back, judge it
on the test rows, lay the facts and the page beside it. The file stays as it is.

Knowable when: the scaler looks at training rows, temperature and variant at validation rows, the figures at test rows.
What the network itself was trained on nobody knows: a legacy file names no rows.

What does not belong here: words and the page (models_lib.reports.repair).
"""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models_lib.bundle import (
    Bundle,
    FeatureFacts,
    add_run_facts,
    load_bundle,
    record_golden,
    write_bundle,
)
from models_lib.bundle.kinds import repaired_manifest
from models_lib.bundle.predictor import Predictor, probabilities_of
from models_lib.calibration import TemperatureSweep, negative_log_likelihood, sweep_temperatures
from models_lib.config import GatesSection, RunConfig
from models_lib.errors import ConfigError
from models_lib.evaluation.gates import GateResult, calibration_error, logit_range, overconfidence
from models_lib.evaluation.metrics import ClassificationMetrics, classification_metrics
from models_lib.features import FeatureSet
from models_lib.files import fresh_folder, fsync_folder
from models_lib.legacy import LegacyModel, LegacyPredictor
from models_lib.legacy.repair import CLAMP, GUESSED_TEMPERATURE, Variant, fit_variants
from models_lib.registry import Registry
from models_lib.reports.repair import Answered, RepairStudy, VariantFigures, render_repair
from models_lib.scaling import fit_scaler
from models_lib.steps.judged_bundle import judge_bundle
from models_lib.steps.judgement import JudgedModel
from models_lib.steps.market import Market
from models_lib.steps.report import label_name
from models_lib.steps.run_facts import judgement_run_id

PAGE_NAME, STUDY_NAME = "repair.html", "repair.json"

Matrix = NDArray[np.float32]


def repair_model(
    model: LegacyModel,
    market: Market,
    features: FeatureSet,
    config: RunConfig,
    out: Path,
    *,
    registry: Registry,
    now: datetime,
) -> RepairStudy:
    """The best variant as a bundle in the folder `out`, with its judgement and its page.

    Args:
        model: a V6 or V7 file as read.
        market: candles with labels and splits.
        features: what the network takes.
        config: gates, evaluation, temperature.
        out: where the bundle shall stand; nothing may be there.
        registry: whose champion the bundle is judged against.
        now: aware.

    Raises:
        BundleError: the file cannot be mended.
        ConfigError: something is at `out` already, or it cannot be written.
        DataError: the candles are too few for labels or golden vectors, or a feature is constant.
    """
    check_free(out)
    model.check_features(features)
    matrix, labels = market.matrix(features), market.labels
    fitted = fit_scaler(matrix, labels.splits.train, names=features.names)
    validation = labels.splits.validation
    variants = fit_variants(model, matrix[validation], labels.classes[validation], fitted=fitted)
    try:
        with fresh_folder(out) as fresh:
            bundle_hash = _write(fresh, model, variants[0], market=market, features=features, config=config)
            bundle = load_bundle(fresh, symbol=market.symbol, expected_hash=bundle_hash)
            run_id = judgement_run_id("repair", now=now)
            verdict = judge_bundle(bundle, market, config, registry=registry, run_id=run_id, now=now)
            study = _study(
                model,
                variants,
                market=market,
                features=features,
                config=config,
                bundle=bundle,
                judged=verdict.judged,
                out=out,
            )
            reports = {PAGE_NAME: render_repair(study).encode(), STUDY_NAME: _json_bytes(study)}
            add_run_facts(fresh, facts=verdict.facts, reports=reports)
            fresh.rename(out)
            fsync_folder(out.parent)
    except OSError as error:
        raise ConfigError(
            f"{out}: the bundle cannot be written ({error.strerror}). Name another folder with --out."
        ) from error
    return study


def check_free(out: Path) -> None:
    """Refuses a folder that is there: what it holds would be lost or mixed up with the bundle.

    Raises:
        ConfigError: something is there.
    """
    if out.exists() or out.is_symlink():
        raise ConfigError(
            f"{out}: is there already, and a bundle is never written over. Name a folder that is not there."
        )


def _write(
    folder: Path, model: LegacyModel, variant: Variant, *, market: Market, features: FeatureSet, config: RunConfig
) -> str:
    """The variant as a bundle that nobody has judged yet; returns its hash."""
    manifest = repaired_manifest(
        variant.architecture,
        scaler=variant.scaler,
        source_name=model.path.name,
        source_sha256=model.sha256,
        features=FeatureFacts.of(features),
        market=market.facts(features, config),
    )
    golden = record_golden(market.frame, variant.predictor(), features=features, symbol=market.symbol)
    return write_bundle(folder, tensors=variant.tensors, manifest=manifest, golden=golden)


def _study(
    model: LegacyModel,
    variants: tuple[Variant, ...],
    *,
    market: Market,
    features: FeatureSet,
    config: RunConfig,
    bundle: Bundle,
    judged: JudgedModel,
    out: Path,
) -> RepairStudy:
    """Everything that is said of the repair."""
    chosen, *others = variants
    labels, matrix = market.labels, market.matrix(features)
    splits = labels.splits
    test = _TestRows(matrix[splits.test], labels.classes[splits.test], config)
    validation, validation_classes = matrix[splits.validation], labels.classes[splits.validation]
    before, mended = LegacyPredictor(model), bundle.predictor
    classes = test.said(mended)
    return RepairStudy(
        symbol=market.symbol,
        source=str(model.path),
        source_sha256=model.sha256,
        source_family=model.family,
        features=features.name,
        origin=market.origin,
        label=label_name(market.label),
        bundle=bundle.hash,
        folder=str(out),
        rows={name: getattr(splits, name).size for name in ("train", "validation", "test")},
        variants=tuple(_variant_figures(variant, validation, validation_classes) for variant in variants),
        before=test.answered("the file as it is", before, clamp=None),
        after=test.answered("mended", mended, clamp=CLAMP),
        at_10=test.answered("mended, T = 10", chosen.predictor(GUESSED_TEMPERATURE), clamp=CLAMP),
        others=tuple(
            test.answered(f"not chosen: {variant.scaler}", variant.predictor(), clamp=CLAMP) for variant in others
        ),
        changed_share=float((classes != test.said(before)).mean()),
        changed_by_clamp=float((classes != test.said(chosen.unclamped())).mean()),
        rule_accuracy=judged.metrics["mechanical_rule_accuracy"],
        gates=judged.gates,
        gates_section=config.gates,
        words=judged.words,
        sweep=_sweep(chosen, validation, validation_classes, config),
        temperature_section=config.temperature,
        confidence=mended.probabilities(test.features).max(axis=1).astype(np.float64),
        notes=model.notes,
    )


def _sweep(variant: Variant, features: Matrix, classes: NDArray[np.int8], config: RunConfig) -> TemperatureSweep:
    return sweep_temperatures(
        variant.predictor().raw_logits(features),
        classes,
        config.temperature,
        ece_limit=config.gates.calibration_error.limit,
        bins=config.evaluation.ece_bins,
    )


def _json_bytes(study: RepairStudy) -> bytes:
    return (json.dumps(study.to_json(), indent=2, sort_keys=True) + "\n").encode()


@dataclass(frozen=True, eq=False)
class _TestRows:
    """What every way of answering is measured on."""

    features: Matrix
    classes: NDArray[np.int8]
    config: RunConfig

    def said(self, predictor: Predictor) -> NDArray[np.int64]:
        """The predicted classes, int64 [n]."""
        classes: NDArray[np.int64] = predictor.raw_logits(self.features).argmax(axis=1)
        return classes

    def answered(self, name: str, predictor: Predictor, *, clamp: float | None) -> Answered:
        raw_logits = predictor.raw_logits(self.features)
        logits = raw_logits / np.float32(predictor.temperature)
        cut = None if clamp is None else clamped_share(raw_logits, clamp)
        figures = None
        if np.isfinite(logits).all():
            probabilities, bins = probabilities_of(logits), self.config.evaluation.ece_bins
            figures = classification_metrics(logits, probabilities, self.classes, bins=bins)
        return Answered(
            name=name,
            temperature=predictor.temperature,
            figures=figures,
            clamped_share=cut,
            targets=() if figures is None else _targets(figures, cut, self.config.gates),
        )


def _targets(figures: ClassificationMetrics, cut: float | None, gates: GatesSection) -> tuple[GateResult, ...]:
    """The gates that a repair is made for."""
    return (
        logit_range(figures.max_abs_logit, gates.logit_range, clamped_share=cut),
        overconfidence(figures.share_over_99, gates.overconfidence),
        calibration_error(figures.ece, gates.calibration_error),
    )


def clamped_share(raw_logits: Matrix, clamp: float) -> float:
    """Share of the rows in which a logit lies at the clamp."""
    return float((np.abs(raw_logits) >= clamp).any(axis=1).mean())


def _variant_figures(variant: Variant, features: Matrix, classes: NDArray[np.int8]) -> VariantFigures:
    raw_logits = variant.predictor().raw_logits(features)
    return VariantFigures(
        scaler=variant.scaler,
        temperature=variant.fit.temperature,
        wanted=variant.wanted.temperature,
        nll=variant.fit.nll,
        nll_at_10=negative_log_likelihood(raw_logits, classes, GUESSED_TEMPERATURE),
        accuracy=float((raw_logits.argmax(axis=1) == classes).mean()),
        clamped_share=clamped_share(raw_logits, CLAMP),
    )
