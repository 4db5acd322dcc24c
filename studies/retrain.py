"""One symbol from candles to a verdict, by the product's own steps and without Prefect; for the studies.

The same steps in the same order as the flow `train-symbol`, down to the bundle in the store and its promotion: what a
study calls promoted is what a nightly run calls promoted. Nothing is deployed.

What does not belong here: which runs a study makes, and what it claims.
"""

import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from models_lib.backends import LocalBackend
from models_lib.config import RunConfig
from models_lib.registry import open_registry
from models_lib.steps.candidate import build_candidate
from models_lib.steps.candles import fetch_candles
from models_lib.steps.champion import champion_to_beat
from models_lib.steps.clock import StepClock
from models_lib.steps.features import compute_feature_matrix
from models_lib.steps.judge import judge_candidate
from models_lib.steps.labels import label_rows
from models_lib.steps.outcome import NOT_CONFIGURED, SymbolOutcome, held_outcome, settled_outcome
from models_lib.steps.plan import RunPlan, plan_run
from models_lib.steps.promote import promote_candidate
from models_lib.steps.refs import Fitted, Judged, Prepared
from models_lib.steps.report import finish_report
from models_lib.steps.scaler import fit_feature_scaler
from models_lib.steps.store import store_candidate
from models_lib.steps.temperature import tune_temperature
from models_lib.steps.train import train_model
from tasks.adapters.sources import open_source


@dataclass(frozen=True)
class Retrained:
    """A retrained symbol.

    Attributes:
        outcome: promoted or held, with gates and figures.
        prepared: its candles, features and labels; the files live as long as the run's folder.
        seconds: of each step.
    """

    outcome: SymbolOutcome
    prepared: Prepared
    seconds: dict[str, float]


def temporary_home(stack: ExitStack) -> Path:
    """A home of its own, with an empty store, that goes when the stack ends."""
    return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="crpbot-study-")))


def retrain(config: RunConfig, symbol: str, *, home: Path, now: datetime, with_last_page: bool = False) -> Retrained:
    """Trains, judges and, if every blocking gate passed, promotes one symbol's model in the store under `home`.

    Args:
        config: what to train, and on which data.
        symbol: the one symbol.
        home: where runs and store lie.
        now: of the run.
        with_last_page: also write the page that says what became of the candidate, which no study looks at.

    Raises:
        CrpbotError: as the steps do; a study has no use for half a result.
    """
    plan = plan_run(config, home=home, symbols=(symbol,), who="study", now=now)
    folder = plan.symbol_folder(symbol)
    clock, registry = StepClock(symbol), open_registry(plan.home)
    prepared = _prepare(plan, symbol, folder, clock)
    with clock.step("train"):
        trained = train_model(config, prepared, folder / "training", backend=LocalBackend())
    with clock.step("temperature"):
        fitted = Fitted(trained=trained, temperature=tune_temperature(config, prepared, trained, folder))
    with clock.step("candidate"):
        candidate = build_candidate(config, prepared, fitted, folder)
    with clock.step("judge"):
        champion = champion_to_beat(registry, symbol)
        judgement = judge_candidate(
            plan, prepared, fitted, candidate, folder, registry=registry, champion=champion, now=now
        )
    with clock.step("report"):
        stored = store_candidate(
            plan, prepared, fitted, candidate, judgement, registry=registry, seconds=dict(clock.seconds), now=now
        )
    judged = Judged(
        prepared=prepared,
        fitted=fitted,
        judgement=judgement,
        stored=stored,
        seconds=clock.seconds,
        peak_rss_mb=clock.peak_rss_mb,
    )
    if judgement.failed_blocking:
        outcome = held_outcome(judged, clock)
    else:
        with clock.step("promote"):
            promotion = promote_candidate(plan, judged, registry=registry, now=now)
        if with_last_page:
            with clock.step("page"):
                finish_report(plan, judged, promotion=promotion, seconds=clock.seconds, now=now)
        outcome = settled_outcome(judged, promotion=promotion, deployment=NOT_CONFIGURED, clock=clock)
    return Retrained(outcome, prepared, dict(clock.seconds))


def _prepare(plan: RunPlan, symbol: str, folder: Path, clock: StepClock) -> Prepared:
    """Candles, features, labels and splits, scaler."""
    config = plan.config
    with clock.step("candles"):
        candles = fetch_candles(
            symbol, config.data, folder, source=open_source(config, home=plan.home), now=plan.started_at
        )
    with clock.step("features"):
        features = compute_feature_matrix(candles, folder, threads=1)
    with clock.step("labels"):
        labels = label_rows(candles, config.label, config.splits, folder)
    with clock.step("scaler"):
        scaler = fit_feature_scaler(features, labels, folder)
    return Prepared(candles=candles, features=features, labels=labels, scaler=scaler)
