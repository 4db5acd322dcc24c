"""One judgement for any model: in a run and outside, with features of its own, with and without labels and scaler."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import torch

from models_lib.architecture import RepairedArchitecture
from models_lib.bundle import (
    Bundle,
    EnvelopeFacts,
    FeatureFacts,
    TorchPredictor,
    add_run_facts,
    ensemble_manifest,
    ensemble_tensors,
    load_bundle,
    record_golden,
    repaired_manifest,
    with_temperature,
    write_bundle,
)
from models_lib.config import GatesSection, NetworkSection, RunConfig, load_config
from models_lib.envelope import fit_envelope
from models_lib.errors import DataError, PromotionError
from models_lib.evaluation.gates import GateResult
from models_lib.features import CURRENT, RAW72, FeatureSet, joined
from models_lib.networks import build_network, state_tensors
from models_lib.registry import open_registry
from models_lib.registry.commands import history, promote
from models_lib.scaling import Scaler, fit_scaler
from models_lib.steps.champion import against_champion, champion_to_beat
from models_lib.steps.judgement import JudgedModel, ModelAnswers, answers_of, judge_answers
from models_lib.steps.market import Market, market_of_run, open_market
from models_lib.steps.provenance import Provenance
from models_lib.steps.run_facts import judgement_run_id, run_facts_of
from tasks.adapters.sources import open_source
from tests.bundles import repaired_tensors
from tests.markets import LENIENT, NO_HOME, QUICK
from tests.unit.steps.conftest import Judged, PreparedSymbol

NOW = datetime(2026, 1, 15, 2, tzinfo=UTC)
HERE = Provenance(host="here", commit=None, uncommitted_diff=None, versions={})
STRICT = load_config(None, ("data.days=14", *QUICK, *LENIENT, "gates.not_worse_than_champion.severity=blocking"))
ADVISORY = load_config(None, (*QUICK, *(f"gates.{name}.severity=advisory" for name in GatesSection.model_fields)))


@pytest.fixture(scope="module")
def market(btc: PreparedSymbol) -> Market:
    return market_of_run(btc.config, btc.prepared)


@pytest.fixture(scope="module")
def trained(judged: Judged) -> Bundle:
    return load_bundle(judged.candidate.folder)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


def gates_of(judged: JudgedModel) -> dict[str, GateResult]:
    return {gate.name: gate for gate in judged.gates if gate.split != "validation"}


def short_market(days: int) -> Market:
    config = load_config(None, (f"data.days={days}", *QUICK))
    return open_market("BTC-USD", config, source=open_source(config, home=NO_HOME), now=NOW)


# the market


def test_market_of_a_run_is_the_one_of_its_source(market: Market, btc: PreparedSymbol) -> None:
    opened = open_market("BTC-USD", btc.config, source=open_source(btc.config, home=NO_HOME), now=NOW)
    assert (opened.origin, opened.data_hash) == (market.origin, market.data_hash)
    assert opened.report == market.report
    assert (opened.symbol, opened.simulated_market, opened.label) == ("BTC-USD", "default", market.label)
    np.testing.assert_array_equal(opened.matrix(CURRENT), market.matrix(CURRENT))
    assert isinstance(market.matrix(CURRENT), np.memmap), "a run's matrix is not copied into memory"
    assert opened.labels.threshold == market.labels.threshold
    assert opened.labels.splits.to_json() == market.labels.splits.to_json()
    for part in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(opened.labels.splits, part), getattr(market.labels.splits, part))
    np.testing.assert_array_equal(opened.labels.classes, market.labels.classes)
    np.testing.assert_array_equal(opened.labels.values.value, market.labels.values.value)


def test_features_of_a_set_are_computed_once(market: Market) -> None:
    raw = market.matrix(RAW72)
    assert raw.shape == (len(market.frame), 72)
    assert market.matrix(RAW72) is raw
    narrowed = market.judged_on(market.judged_rows[-10:])
    assert narrowed.matrix(RAW72) is raw
    assert narrowed.judged_rows.size == 10
    assert narrowed.labels.splits.spans["test"] == (market.times[-25], market.times[-16]), "15 minutes without a label"
    assert market.judged_rows.size > 10


def test_unseen_rows_begin_when_no_label_shares_a_bar_with_the_validation_rows(market: Market, trained: Bundle) -> None:
    """A validation label looks 15 minutes ahead and a later one 60 back, so 75 minutes lie between."""
    times = market.times[market.judged_rows]
    assert market.unseen([]).all()
    assert market.unseen([trained.manifest]).all(), "its own test rows are new to a candidate"

    def fitted_until(row: int, **changes: object) -> np.ndarray:
        splits = trained.manifest.splits
        last = datetime.fromtimestamp(times[row] / 1_000, tz=UTC)
        span = splits.validation.model_copy(update={"last": last})
        later = splits.model_copy(update={"validation": span})
        return market.unseen([trained.manifest, trained.manifest.model_copy(update={"splits": later, **changes})])

    assert np.flatnonzero(fitted_until(100)).tolist() == list(range(176, times.size))
    assert fitted_until(100, simulated_market="null").sum() == times.size - 176, "one simulated market is like another"
    assert fitted_until(100, simulated_market=None).all(), "real candles share no bar with simulated ones"


# the judgement


def test_bundle_is_judged_outside_of_its_run_as_in_it(btc: PreparedSymbol, judged: Judged, trained: Bundle) -> None:
    market = open_market("BTC-USD", btc.config, source=open_source(btc.config, home=NO_HOME), now=NOW)
    outside = judge_answers(market, answers_of(trained, market), btc.config, champion=None)
    inside = json.loads(judged.judgement.judgement.checked().read_text())
    assert json.loads(json.dumps(outside.to_json())) == {name: inside[name] for name in ("gates", "metrics", "words")}
    assert outside.failed_blocking == judged.judgement.failed_blocking
    assert (inside["metrics"]["clamped_share"], inside["metrics"]["against_champion"]) == (None, None)


def test_file_without_scaler_is_measured_on_its_inputs_as_they_are(
    market: Market, trained: Bundle, btc: PreparedSymbol
) -> None:
    answers = replace(answers_of(trained, market), scaler=None, matrix=market.matrix(RAW72), names=RAW72.names)
    gates = gates_of(judge_answers(market, answers, btc.config, champion=None))
    assert gates["scaler_present"].value is None
    train = market.matrix(RAW72)[market.labels.splits.train].astype(np.float64)
    assert gates["feature_normalisation"].value == pytest.approx(np.abs(train.mean(axis=0)).max(), rel=1e-5)
    assert np.abs(train.mean(axis=0)).max() > 10_000.0
    assert not gates["scaler_present"].passed
    assert not gates["feature_normalisation"].passed


def test_scaler_that_divides_by_nothing_is_not_measured(market: Market, trained: Bundle, btc: PreparedSymbol) -> None:
    answers = answers_of(trained, market)
    for scale in (0.0, np.nan):
        broken = Scaler(mean=np.zeros(72), scale=np.full(72, scale))
        gates = gates_of(judge_answers(market, replace(answers, scaler=broken), btc.config, champion=None))
        assert gates["feature_normalisation"].value is None
        assert not gates["scaler_present"].passed


@pytest.mark.parametrize(("share", "passed"), [(0.004, True), (0.02, False)])
def test_clamp_that_acts_too_often_fails_the_range_of_logits(
    market: Market, trained: Bundle, btc: PreparedSymbol, share: float, passed: bool
) -> None:
    answers = replace(answers_of(trained, market), clamped_share=share)
    judged = judge_answers(market, answers, btc.config, champion=None)
    gate = gates_of(judged)["logit_range"]
    assert gate.passed == passed
    assert gate.note == f"clamped in {share:.2%} of the rows (at most 1.00%)"
    assert judged.metrics["clamped_share"] == share


def test_short_candles_are_judged_as_far_as_no_label_is_needed(trained: Bundle, btc: PreparedSymbol) -> None:
    market = short_market(2)
    assert market.labelled is None
    assert "rows in the" in market.unlabelled_because
    with pytest.raises(DataError, match="rows in the"):
        _ = market.labels
    assert market.judged_rows.size == 1_440
    answers = answers_of(trained, market)
    judged = judge_answers(market, answers, btc.config, champion=None)
    gates = gates_of(judged)
    measured = {name for name, gate in gates.items() if gate.value is not None}
    assert measured == {
        "scaler_present",
        "logit_range",
        "overconfidence",
        "class_balance",
        "finite",
        "confidence_band",
    }
    assert not any(gates[name].passed for name in gates.keys() - measured)
    assert gates["logit_range"].value == np.abs(answers.logits).max()
    assert set(gates) == set(type(btc.config.gates).model_fields) - {"not_worse_than_champion"}


def test_candles_without_any_row_with_features_measure_nothing(
    trained: Bundle, btc: PreparedSymbol, market: Market, tmp_path: Path
) -> None:
    repaired, market = repaired_on(market, tmp_path / "repaired"), short_market(1)
    judged = judge_answers(market, answers_of(trained, market), btc.config, champion=None)
    assert market.judged_rows.size == 0
    assert answers_of(repaired, market).clamped_share is None
    assert gates_of(judged)["logit_range"].value is None
    assert set(judged.metrics.values()) == {None}


# against the champion


def varied(bundle: Bundle, folder: Path, market: Market, *, temperature: float) -> Bundle:
    """The same model with another temperature: a planted better or worse one."""
    tensors = with_temperature(bundle.tensors, temperature)
    golden = record_golden(market.frame, TorchPredictor(bundle.manifest.architecture, tensors), symbol="BTC-USD")
    write_bundle(folder, tensors=tensors, manifest=bundle.manifest, golden=golden)
    return load_bundle(folder)


def on(features: FeatureSet, bundle: Bundle, folder: Path, market: Market) -> Bundle:
    """An untrained network of the same kind over other features."""
    matrix, train = market.matrix(features), market.labels.splits.train
    network = build_network(
        NetworkSection(),
        num_features=len(features.names),
        scaler=fit_scaler(matrix, train, names=features.names),
        generator=torch.Generator().manual_seed(3),
    )
    tensors = with_temperature(state_tensors(network), 1.0)
    facts = {
        "features": FeatureFacts.of(features),
        "envelope": EnvelopeFacts.of(fit_envelope(matrix, train)),
    }
    predictor = TorchPredictor(bundle.manifest.architecture, tensors)
    golden = record_golden(market.frame, predictor, symbol="BTC-USD", features=features)
    write_bundle(folder, tensors=tensors, manifest=bundle.manifest.model_copy(update=facts), golden=golden)
    return load_bundle(folder)


def kept(home: Path, folder: Path, bundle: Bundle, market: Market, *, config: RunConfig = STRICT) -> JudgedModel:
    """Judged against the champion of this moment, and put into the store with the facts of that judgement."""
    answers, champion = answers_of(bundle, market), champion_to_beat(open_registry(home), "BTC-USD")
    comparison = against_champion(
        open_registry(home), champion, market, answers, candidate=bundle.manifest, section=config.evaluation
    )
    judged = judge_answers(market, answers, config, champion=comparison)
    facts = run_facts_of(
        judged.to_json(),
        run_id=judgement_run_id("repair", now=NOW),
        symbol=market.symbol,
        bundle=bundle.hash,
        config=config,
        champion=champion,
        data=market.report,
        origin=HERE,
        started_at=NOW,
        judged_at=NOW,
        seconds={},
    )
    add_run_facts(folder, facts=facts, reports={"report.html": b"page"})
    assert open_registry(home).store.put(folder) == bundle.hash
    return judged


def promoted(home: Path, bundle: Bundle) -> None:
    promote(
        home,
        "BTC-USD",
        bundle.hash,
        registry=open_registry(home),
        who="me",
        why="it is better",
        now=NOW + timedelta(minutes=1),
    )


def test_better_candidate_replaces_the_champion_and_the_ledger_keeps_the_numbers(
    home: Path, tmp_path: Path, trained: Bundle, market: Market
) -> None:
    own = trained.predictor.temperature
    poor = varied(trained, tmp_path / "poor", market, temperature=10.0 * own)
    good = varied(trained, tmp_path / "good", market, temperature=own)
    assert kept(home, tmp_path / "poor", poor, market).metrics["against_champion"] is None
    promoted(home, poor)
    judged = kept(home, tmp_path / "good", good, market)
    gate, told = gates_of(judged)["not_worse_than_champion"], judged.metrics["against_champion"]
    assert gate.passed
    assert told["nll_difference"] == pytest.approx(told["champion_nll"] - told["candidate_nll"])
    assert told["nll_difference_interval"][0] > 0.0, "clearly better"
    assert gate.value == told["nll_difference_interval"][1]
    assert told["rows"] == market.judged_rows.size
    assert told["candidate_nll"] == pytest.approx(judged.metrics["nll"])
    promoted(home, good)
    first, second = history(home, registry=open_registry(home)).entries
    assert "against_champion" not in first.gates
    assert second.gates["against_champion"] == told
    assert second.run_id is not None
    assert second.run_id.startswith("repair-20260115T020000Z-")
    assert first.sentence().endswith(" by me: it is better")
    assert second.sentence().endswith(
        f" by me: it is better (NLL {told['candidate_nll']:.4f} against the champion's {told['champion_nll']:.4f} on "
        f"{told['rows']:,} rows after the validation ends of both: {told['nll_difference']:+.4f}, "
        "{:+.4f} to {:+.4f})".format(*told["nll_difference_interval"])
    )


def test_worse_candidate_is_held_and_never_promoted(
    home: Path, tmp_path: Path, trained: Bundle, market: Market
) -> None:
    own = trained.predictor.temperature
    good = varied(trained, tmp_path / "good", market, temperature=own)
    poor = varied(trained, tmp_path / "poor", market, temperature=10.0 * own)
    kept(home, tmp_path / "good", good, market)
    promoted(home, good)
    judged = kept(home, tmp_path / "poor", poor, market)
    assert judged.failed_blocking == ("not_worse_than_champion",)
    assert judged.metrics["against_champion"]["nll_difference_interval"][1] < 0.0
    with pytest.raises(PromotionError, match="failed not_worse_than_champion in run repair-2026"):
        promoted(home, poor)
    champion = open_registry(home).champion("BTC-USD")
    assert champion is not None
    assert champion.bundle == good.hash


def test_champion_is_asked_with_its_own_features_on_the_candidates_rows(
    home: Path, tmp_path: Path, trained: Bundle, market: Market
) -> None:
    old = on(RAW72, trained, tmp_path / "old", market)
    kept(home, tmp_path / "old", old, market, config=ADVISORY)
    promoted(home, old)
    comparison = against_champion(
        open_registry(home),
        old.hash,
        market,
        answers_of(trained, market),
        candidate=trained.manifest,
        section=STRICT.evaluation,
    )
    assert comparison is not None
    assert comparison.same_rows is not None
    rows, classes = market.judged_rows, market.labels.classes
    p_NC = old.predict(market.frame)[rows]
    nll = -np.log(p_NC[np.arange(rows.size), classes[rows]]).mean()
    assert comparison.same_rows.champion_nll == pytest.approx(nll, abs=1e-5)
    assert comparison.same_rows.rows == rows.size


def test_repaired_model_and_ensemble_are_judged_as_any_bundle(
    tmp_path: Path, trained: Bundle, market: Market, home: Path
) -> None:
    """Raw prices through an old network reach the clamp in nearly every row."""
    repaired = repaired_on(market, tmp_path / "repaired")
    answers = answers_of(repaired, market)
    assert answers.clamped_share is not None
    raw_logits = answers.logits * repaired.predictor.temperature
    assert answers.clamped_share == (np.abs(raw_logits) > 15.0 - 1e-4).any(axis=1).mean() > 0.5
    gates = gates_of(judge_answers(market, answers, STRICT, champion=None))
    assert gates["scaler_present"].passed
    assert not gates["feature_normalisation"].passed, "the identity scales nothing"
    assert gates["logit_range"].note.startswith("clamped in ")
    assert not gates["logit_range"].passed

    ensemble = ensemble_on(market, tmp_path / "ensemble", repaired, trained)
    pooled = answers_of(ensemble, market)
    assert (pooled.clamped_share, pooled.matrix.shape[1]) == (answers.clamped_share, 144)
    kept(home, tmp_path / "ensemble", ensemble, market, config=ADVISORY)
    promoted(home, ensemble)
    itself = against_champion(
        open_registry(home), ensemble.hash, market, pooled, candidate=ensemble.manifest, section=STRICT.evaluation
    )
    assert itself is not None
    assert itself.difference == 0.0


def test_ensemble_has_seen_what_its_members_were_fitted_on(tmp_path: Path, trained: Bundle, market: Market) -> None:
    splits, times = trained.manifest.splits, market.times[market.judged_rows]
    last = datetime.fromtimestamp(times[100] / 1_000, tz=UTC)
    later = splits.model_copy(update={"validation": splits.validation.model_copy(update={"last": last})})
    ensemble = ensemble_on(market, tmp_path / "ensemble", repaired_on(market, tmp_path / "repaired"), trained)
    assert market.unseen([ensemble.manifest]).all()
    repaired, new = ensemble.manifest.members
    member = new.model_copy(update={"manifest": new.manifest.model_copy(update={"splits": later})})
    manifest = ensemble.manifest.model_copy(update={"members": (repaired, member)})
    assert market.unseen([manifest]).sum() == times.size - 176


def repaired_on(market: Market, folder: Path) -> Bundle:
    """An untrained old network over raw prices, as a repair leaves one."""
    tensors = repaired_tensors(market.matrix(RAW72), identity=True)
    manifest = repaired_manifest(
        RepairedArchitecture.of("v6", clamp=15.0),
        scaler="identity",
        source_name="lstm_BTC-USD_v6.pt",
        source_sha256="5" * 64,
        features=FeatureFacts.of(RAW72),
        market=market.facts(RAW72, STRICT),
    )
    predictor = TorchPredictor(manifest.architecture, tensors)
    golden = record_golden(market.frame, predictor, symbol="BTC-USD", features=RAW72)
    write_bundle(folder, tensors=tensors, manifest=manifest, golden=golden)
    return load_bundle(folder)


def ensemble_on(market: Market, folder: Path, first: Bundle, second: Bundle) -> Bundle:
    features = joined(first.feature_set, second.feature_set)
    manifest = ensemble_manifest(first, second, weights=(0.1, 0.9), market=market.facts(features, STRICT))
    tensors = ensemble_tensors(first, second, 1.0)
    predictor = TorchPredictor(manifest.architecture, tensors)
    golden = record_golden(market.frame, predictor, symbol="BTC-USD", features=features)
    write_bundle(folder, tensors=tensors, manifest=manifest, golden=golden)
    return load_bundle(folder)


def test_what_a_manifest_says_of_a_market_is_what_a_run_wrote(market: Market, trained: Bundle) -> None:
    facts, manifest = market.facts(CURRENT, STRICT), trained.manifest
    for name in ("symbol", "label", "splits", "envelope", "data_hash", "simulated_market", "valid_days"):
        assert getattr(facts, name) == getattr(manifest, name)


def test_rows_that_the_champion_was_fitted_on_are_left_out(
    home: Path, tmp_path: Path, trained: Bundle, market: Market
) -> None:
    splits = trained.manifest.splits
    times = market.times[market.judged_rows]
    last = datetime.fromtimestamp(times[499] / 1_000, tz=UTC)
    spans = {
        "validation": splits.validation.model_copy(update={"last": last}),
        "test": splits.test.model_copy(update={"first": last + timedelta(hours=2)}),
    }
    manifest = trained.manifest.model_copy(update={"splits": splits.model_copy(update=spans)})
    write_bundle(
        tmp_path / "late",
        tensors=trained.tensors,
        manifest=manifest,
        golden=record_golden(market.frame, trained.predictor, symbol="BTC-USD"),
    )
    late = load_bundle(tmp_path / "late")
    judged = kept(home, tmp_path / "late", late, market)
    assert not judged.failed_blocking
    promoted(home, late)
    comparison = against_champion(
        open_registry(home),
        late.hash,
        market,
        answers_of(trained, market),
        candidate=trained.manifest,
        section=STRICT.evaluation,
    )
    assert comparison is not None
    assert comparison.note.startswith(f"on {times.size - 575:,} test rows after")
    assert comparison.difference == 0.0, "it is the same model"


def test_champion_is_not_compared_without_labels(
    home: Path, tmp_path: Path, trained: Bundle, market: Market, btc: PreparedSymbol
) -> None:
    good = varied(trained, tmp_path / "good", market, temperature=trained.predictor.temperature)
    kept(home, tmp_path / "good", good, market)
    short = short_market(2)
    answers = answers_of(trained, short)
    comparison = against_champion(
        open_registry(home), good.hash, short, answers, candidate=trained.manifest, section=btc.config.evaluation
    )
    assert comparison is not None
    assert comparison.difference is None
    assert comparison.note.startswith("there are no labels: BTC-USD: ")


# facts


def facts_config(
    market: Market, answers: ModelAnswers, bundle: Bundle, config: RunConfig = STRICT
) -> dict[str, dict[str, object]]:
    judged = judge_answers(market, answers, STRICT, champion=None)
    facts = run_facts_of(
        judged.to_json(),
        run_id=judgement_run_id("compare", now=NOW),
        symbol="BTC-USD",
        bundle=bundle.hash,
        config=config,
        champion=None,
        data=market.report,
        origin=HERE,
        started_at=NOW,
        judged_at=NOW,
        seconds={},
    )
    assert facts.missing_gates() == ()
    assert facts.run_id.startswith("compare-20260115T020000Z-")
    return facts.to_json()["config"]  # type: ignore[no-any-return]


def test_limit_of_a_clamp_is_told_only_where_there_is_one(market: Market, trained: Bundle) -> None:
    """Earlier hosts read the facts of a bundle and refuse settings of a gate that they do not know."""
    answers = answers_of(trained, market)
    assert facts_config(market, answers, trained)["gates"]["logit_range"] == {"severity": "blocking", "limit": 15.0}
    clamped = facts_config(market, replace(answers, clamped_share=0.0), trained)["gates"]["logit_range"]
    assert clamped == {"severity": "blocking", "limit": 15.0, "max_clamped_share": 0.01}


def test_controls_are_no_part_of_a_bundle_s_facts(market: Market, trained: Bundle) -> None:
    """They change nothing about it, and earlier hosts do not know the key: it would cost them the test figures."""
    section = STRICT.evaluation.model_copy(update={"controls": ("shuffled",)})
    controlled = STRICT.model_copy(update={"evaluation": section})
    answers = answers_of(trained, market)
    told = facts_config(market, answers, trained, controlled)
    assert "controls" not in told["evaluation"]
    assert told == facts_config(market, answers, trained)
