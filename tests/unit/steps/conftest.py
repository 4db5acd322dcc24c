"""One symbol's data, prepared once a session by the real steps."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from models_lib.backends import LocalBackend
from models_lib.config import RunConfig, load_config
from models_lib.registry import open_registry
from models_lib.steps import refs
from models_lib.steps.plan import RunPlan, plan_run
from models_lib.steps.refs import CandidateRef, Fitted, JudgementRef, Prepared, StoredRef
from tasks.adapters.sources import open_source
from tests.markets import LENIENT, QUICK


@dataclass(frozen=True)
class Judged:
    """What the steps from the training to the judgement leave."""

    fitted: Fitted
    candidate: CandidateRef
    judgement: JudgementRef

    def store(self, btc: "PreparedSymbol", *, now: datetime) -> StoredRef:
        """Puts the candidate into the store of `btc`'s home."""
        from models_lib.steps.store import store_candidate

        return store_candidate(
            btc.plan,
            btc.prepared,
            self.fitted,
            self.candidate,
            self.judgement,
            registry=open_registry(btc.plan.home),
            seconds={"train": 1.0},
            now=now,
        )

    def stored(self, btc: "PreparedSymbol", stored: StoredRef) -> refs.Judged:
        """The value that release and page take."""
        return refs.Judged(
            prepared=btc.prepared,
            fitted=self.fitted,
            judgement=self.judgement,
            stored=stored,
            seconds={"train": 1.0},
        )


@dataclass(frozen=True)
class PreparedSymbol:
    """What the steps before the training leave."""

    plan: RunPlan
    config: RunConfig
    prepared: Prepared
    folder: Path


def judged_now(plan: RunPlan, prepared: Prepared, fitted: Fitted, candidate: CandidateRef) -> JudgementRef:
    """The judgement against the champion of this moment, in the run's folder."""
    from models_lib.steps.champion import champion_to_beat
    from models_lib.steps.judge import judge_candidate

    symbol = prepared.symbol
    folder, champion = plan.symbol_folder(symbol), champion_to_beat(open_registry(plan.home), symbol)
    return judge_candidate(
        plan,
        prepared,
        fitted,
        candidate,
        folder,
        registry=open_registry(plan.home),
        champion=champion,
        now=plan.started_at,
    )


@pytest.fixture(scope="session")
def btc(tmp_path_factory: pytest.TempPathFactory) -> PreparedSymbol:
    """BTC-USD on two simulated weeks, ready for training."""
    from models_lib.steps.candles import fetch_candles
    from models_lib.steps.features import compute_feature_matrix
    from models_lib.steps.labels import label_rows
    from models_lib.steps.scaler import fit_feature_scaler

    config = load_config(None, ("data.days=14", *QUICK, *LENIENT))
    now = datetime(2026, 1, 15, 2, tzinfo=UTC)
    plan = plan_run(config, home=tmp_path_factory.mktemp("home"), symbols=("BTC-USD",), who="test", now=now)
    folder = plan.symbol_folder("BTC-USD")
    candles = fetch_candles("BTC-USD", config.data, folder, source=open_source(config, home=plan.home), now=now)
    features = compute_feature_matrix(candles, folder, threads=1)
    labels = label_rows(candles, config.label, config.splits, folder)
    scaler = fit_feature_scaler(features, labels, folder)
    return PreparedSymbol(
        plan, config, Prepared(candles=candles, features=features, labels=labels, scaler=scaler), folder
    )


@pytest.fixture(scope="session")
def judged(btc: PreparedSymbol) -> Judged:
    """BTC-USD's trained and judged candidate."""
    from models_lib.steps.candidate import build_candidate
    from models_lib.steps.temperature import tune_temperature
    from models_lib.steps.train import train_model

    trained = train_model(btc.config, btc.prepared, btc.folder / "training", backend=LocalBackend())
    temperature = tune_temperature(btc.config, btc.prepared, trained, btc.folder)
    fitted = Fitted(trained=trained, temperature=temperature)
    candidate = build_candidate(btc.config, btc.prepared, fitted, btc.folder)
    return Judged(fitted, candidate, judged_now(btc.plan, btc.prepared, fitted, candidate))
