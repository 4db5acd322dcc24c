"""`crpbot compare`: the repaired model, V8 and their ensemble on the same rows, and which of them is to be used.

In order: open both bundles, find the rows after both validation ends, fit the ensemble on validation rows, write it as a
bundle and read it back, judge all three by every gate, compare them on the test rows, decide, write page and JSON; where
it was asked for, promote the winner through the same rules as any other bundle.

Knowable when: see untouched.py; the test rows choose no weight, and nothing is chosen on them but the winner.

What does not belong here: figures and decision (models_lib.evaluation), words and page (models_lib.reports).
"""

import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models_lib.bundle import (
    Bundle,
    TorchPredictor,
    add_run_facts,
    ensemble_manifest,
    ensemble_tensors,
    load_bundle,
    record_golden,
    write_bundle,
)
from models_lib.candles.sources import SourceOpener
from models_lib.config import RunConfig, select_symbols
from models_lib.errors import ConfigError, PromotionError, RecordError
from models_lib.evaluation.decision import ModelName
from models_lib.evaluation.pool import PoolFit, fit_pool
from models_lib.features import joined
from models_lib.registry import Registry
from models_lib.registry.commands import promote
from models_lib.reports.three_models import ThreeModels, render_comparison
from models_lib.steps.champion import champion_to_beat
from models_lib.steps.compare_inputs import ComparisonRequest, Member, Opened, open_members
from models_lib.steps.compare_study import ComparedBundle, check_finite, study_of
from models_lib.steps.judged_bundle import JudgedBundle, judge_bundle
from models_lib.steps.market import Market, Rows, open_market
from models_lib.steps.report import REPORT_NAME
from models_lib.steps.run_facts import judgement_run_id
from models_lib.steps.untouched import untouched_market
from models_lib.steps.written import write_table_and_page

NAME = "compare"
ENSEMBLE_FOLDER = "ensemble"

Outcome = Literal["compared", "promoted", "already_champion", "held"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """What came of it.

    Attributes:
        study: figures, verdicts, choice.
        files: JSON and page.
        outcome: `compared` when nobody asked for a promotion; `held` when the answer was no.
    """

    study: ThreeModels
    files: tuple[Path, Path]
    outcome: Outcome


def comparison_folder(home: Path, symbol: str, now: datetime) -> Path:
    """Where a comparison lies for which nobody named a folder."""
    return home / "comparisons" / f"{symbol}-{now:%Y%m%dT%H%M%SZ}"


def compare(
    request: ComparisonRequest,
    config: RunConfig,
    *,
    open_source: SourceOpener,
    home: Path,
    registry: Registry,
    out: Path,
    now: datetime,
) -> Comparison:
    """The three models on the same rows, the choice, and what became of the winner.

    Args:
        request: which models, and on what.
        config: candles where the request names none, splits, gates, evaluation. The label is the bundles' own.
        open_source: opens the candles.
        home: the state folder: holds, journals.
        registry: champions, kept bundles.
        out: folder for JSON, page and the ensemble's bundle.
        now: aware.

    Raises:
        ConfigError: no such bundle, symbol or folder; models that cannot be compared.
        BundleError: a bundle is damaged, of another symbol, or gives logits that are not finite.
        DataError: the candles are missing, break a rule, or have too few rows that neither model has touched.
        RecordError: the record of champions is damaged.
    """
    started = time.monotonic()
    (symbol,) = select_symbols(config, [request.symbol])
    opened = open_members(request, config, home=home, registry=registry)
    repaired, v8, config = opened.repaired, opened.v8, opened.config
    whole = open_market(symbol, config, source=open_source(config), now=now)
    manifests = (repaired.bundle.manifest, v8.bundle.manifest)
    market = untouched_market(whole, manifests, min_rows=config.splits.min_rows)
    _make_folder(out)
    pool = _pool(repaired.bundle, v8.bundle, market)
    members: dict[ModelName, Member] = {"repaired": repaired, "v8": v8}
    if pool.sole is None:
        members["ensemble"] = _write_ensemble(out / ENSEMBLE_FOLDER, opened, pool, market)
    judged = _judged(members, market, config, registry=registry, now=now)
    study = study_of(judged, pool, market, config, seconds=time.monotonic() - started)
    if "ensemble" in judged:
        _lay_facts(judged["ensemble"].folder, judged["ensemble"].verdict, study)
    files: tuple[Path, Path] = _write(study, out)
    outcome: Outcome = "compared"
    if request.promote:
        outcome, promotion = _promote_winner(judged, study, request.who, home=home, registry=registry, now=now)
        study = replace(study, promotion=promotion, seconds=time.monotonic() - started)
        files = _write(study, out)
    return Comparison(study=study, files=files, outcome=outcome)


def _judged(
    members: Mapping[ModelName, Member], market: Market, config: RunConfig, *, registry: Registry, now: datetime
) -> dict[ModelName, ComparedBundle]:
    """All of them by one judgement, against the champion of this moment."""
    run_id = judgement_run_id("compare", now=now)
    return {
        name: ComparedBundle(
            folder=member.folder,
            verdict=judge_bundle(member.bundle, market, config, registry=registry, run_id=run_id, now=now),
        )
        for name, member in members.items()
    }


def _make_folder(out: Path) -> None:
    """A folder that can be written and holds no other comparison's ensemble."""
    if (out / ENSEMBLE_FOLDER).exists():
        raise ConfigError(
            f"{out / ENSEMBLE_FOLDER}: is there already, and a bundle is never written over. Name another folder with --out."
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{out}: cannot be made ({error.strerror}). Name another folder with --out.") from error


def _pool(repaired: Bundle, v8: Bundle, market: Market) -> PoolFit:
    rows = market.labels.splits.validation
    return fit_pool(_emitted(repaired, market, rows), _emitted(v8, market, rows), market.labels.classes[rows])


def _emitted(bundle: Bundle, market: Market, rows: Rows) -> NDArray[np.float32]:
    logits = bundle.predictor.logits(market.matrix(bundle.feature_set)[rows])
    check_finite(bundle, logits)
    return logits


def _write_ensemble(folder: Path, opened: Opened, pool: PoolFit, market: Market) -> Member:
    """The pool as a bundle, read back from disk."""
    repaired, v8 = opened.repaired.bundle, opened.v8.bundle
    features = joined(repaired.feature_set, v8.feature_set)
    facts = market.facts(features, opened.config)
    manifest = ensemble_manifest(repaired, v8, weights=pool.weights, market=facts)
    tensors = ensemble_tensors(repaired, v8, pool.temperature)
    predictor = TorchPredictor(manifest.architecture, tensors)
    golden = record_golden(market.frame, predictor, symbol=market.symbol, features=features)
    bundle_hash = write_bundle(folder, tensors=tensors, manifest=manifest, golden=golden)
    return Member(folder=folder, bundle=load_bundle(folder, symbol=market.symbol, expected_hash=bundle_hash))


def _lay_facts(folder: Path, verdict: JudgedBundle, study: ThreeModels) -> None:
    """The verdict and this page beside a bundle that is no one else's."""
    add_run_facts(folder, facts=verdict.facts, reports={REPORT_NAME: render_comparison(study).encode()})


def _write(study: ThreeModels, out: Path) -> tuple[Path, Path]:
    return write_table_and_page(out, NAME, table=study.to_json(), page=render_comparison(study))


def _promote_winner(
    judged: Mapping[ModelName, ComparedBundle],
    study: ThreeModels,
    who: str,
    *,
    home: Path,
    registry: Registry,
    now: datetime,
) -> tuple[Outcome, str]:
    """What the promotion came to, also in words."""
    winner, symbol = study.decision.winner, study.symbol
    if winner is None:
        return "held", "Nothing was promoted: none of them may be used."
    model = study.models[winner]
    called = f"{model.short} {model.bundle[:12]}"
    if champion_to_beat(registry, symbol) == model.bundle:
        return "already_champion", f"{called} is the champion of {symbol} already; nothing was changed."
    try:
        _promote(judged[winner], study, who, home=home, registry=registry, now=now)
    except RecordError:
        raise
    except PromotionError as error:
        return "held", f"Not promoted: {error}"
    return "promoted", f"Promoted: {called} is the champion of {symbol} now. `crpbot deploy {symbol}` puts it to use."


def _promote(
    winner: ComparedBundle, study: ThreeModels, who: str, *, home: Path, registry: Registry, now: datetime
) -> None:
    """Through the same rules as any other bundle, with the verdict of this comparison.

    Bundles are immutable, so the verdict lies beside a copy: the store keeps the model once and takes the verdict.
    """
    facts = winner.verdict.facts
    with tempfile.TemporaryDirectory(prefix=".crpbot-promote-", dir=home) as scratch:
        copy = Path(scratch) / "bundle"
        shutil.copytree(winner.folder, copy)
        _lay_facts(copy, winner.verdict, study)
        why = f"comparison {facts.run_id}: {study.decision.reason}"
        promote(home, study.symbol, str(copy), registry=registry, who=who, why=why, now=now, run_id=facts.run_id)
