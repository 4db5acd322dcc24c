"""Steps over files: whole, idempotent, refusing what changed behind their back; plan, outcome and summary."""

import errno
import json
import re
import secrets
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models_lib.backends import LocalBackend
from models_lib.candles.schema import epoch_ms
from models_lib.config import RunConfig, load_config
from models_lib.errors import ConfigError, DataError, StoppedError, TrainingError
from models_lib.features import WARM_UP_BARS
from models_lib.files import sha256_file
from models_lib.interruption import allow_work, request_stop
from models_lib.registry import open_registry
from models_lib.steps import outcome as outcomes
from models_lib.steps.candidate import build_candidate
from models_lib.steps.candles import fetch_candles, read_candles
from models_lib.steps.clock import StepClock
from models_lib.steps.features import compute_feature_matrix, map_features
from models_lib.steps.labels import label_rows, read_labels, rows_with_features
from models_lib.steps.plan import RunPlan, plan_run
from models_lib.steps.promote import promote_candidate
from models_lib.steps.refs import CandidateRef, FileRef, StoredRef
from models_lib.steps.scaler import fit_feature_scaler
from models_lib.steps.store import store_candidate
from models_lib.steps.summary import headline, parallel_symbols, table_rows, write_summary
from models_lib.steps.temperature import tune_temperature
from models_lib.steps.train import train_model
from tasks.adapters.sources import open_source
from tests.markets import write_market
from tests.unit.steps.conftest import Judged, PreparedSymbol, judged_now

NOW = datetime(2026, 1, 15, 2, tzinfo=UTC)


def test_each_step_twice_is_the_step_once(btc: PreparedSymbol, judged: Judged) -> None:
    folder, prepared = btc.folder, btc.prepared
    assert (
        fetch_candles("BTC-USD", btc.config.data, folder, source=open_source(btc.config, home=btc.plan.home), now=NOW)
        == prepared.candles
    )
    assert compute_feature_matrix(prepared.candles, folder, threads=2) == prepared.features
    assert label_rows(prepared.candles, btc.config.label, btc.config.splits, folder) == prepared.labels
    assert fit_feature_scaler(prepared.features, prepared.labels, folder) == prepared.scaler
    again = train_model(btc.config, prepared, folder / "again", backend=LocalBackend())
    assert again.weights.sha256 == judged.fitted.trained.weights.sha256
    assert tune_temperature(btc.config, prepared, again, folder) == judged.fitted.temperature
    assert build_candidate(btc.config, prepared, judged.fitted, folder) == judged.candidate
    assert judged_now(btc.plan, prepared, judged.fitted, judged.candidate) == judged.judgement
    assert list(folder.rglob("*.partial")) == []


def test_stored_and_promoted_twice_is_once(btc: PreparedSymbol, judged: Judged) -> None:
    stored = judged.store(btc, now=NOW)
    assert judged.store(btc, now=NOW) == stored
    promote = promote_candidate(btc.plan, judged.stored(btc, stored), registry=open_registry(btc.plan.home), now=NOW)
    assert (promote.outcome, promote.reason) == ("promoted", "")
    promote = promote_candidate(btc.plan, judged.stored(btc, stored), registry=open_registry(btc.plan.home), now=NOW)
    assert (promote.outcome, promote.reason) == ("promoted", "already champion")
    assert len(open_registry(btc.plan.home).history().entries) == 1


def test_judgement_has_every_gate_of_the_configuration(btc: PreparedSymbol, judged: Judged) -> None:
    measured = json.loads(judged.judgement.judgement.checked().read_text())
    names = {gate["name"] for gate in measured["gates"]}
    assert names == set(type(btc.config.gates).model_fields) - {"not_worse_than_champion"}


def test_damaged_candidate_is_not_judged(btc: PreparedSymbol, judged: Judged, tmp_path: Path) -> None:
    from models_lib.errors import BundleError

    folder = Path(shutil.copytree(judged.candidate.folder, tmp_path / "candidate"))
    model = folder / "model.safetensors"
    content = bytearray(model.read_bytes())
    content[-1] ^= 1
    model.write_bytes(content)
    with pytest.raises(BundleError, match=r"model\.safetensors"):
        judged_now(btc.plan, btc.prepared, judged.fitted, judged.candidate.model_copy(update={"folder": folder}))


def test_file_that_changed_behind_a_reference_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("before")
    reference = FileRef.of(path)
    assert reference.checked() == path
    assert reference.sha256 == sha256_file(path)
    path.write_text("after")
    with pytest.raises(DataError, match="of an earlier step changed"):
        reference.checked()
    path.unlink()
    with pytest.raises(DataError, match="of an earlier step is gone"):
        reference.checked()


def test_labels_and_features_agree_on_the_rows_without_values(btc: PreparedSymbol) -> None:
    matrix, frame = map_features(btc.prepared.features), read_candles(btc.prepared.candles)
    with_values = ~np.isnan(matrix).any(axis=1)
    np.testing.assert_array_equal(with_values, rows_with_features(epoch_ms(frame)))
    assert int(np.flatnonzero(with_values)[0]) == WARM_UP_BARS
    rows = read_labels(btc.prepared.labels)
    for part in (rows.train, rows.validation, rows.test):
        assert with_values[part].all()
        assert (rows.classes[part] >= 0).all()


def test_row_with_features_starts_anew_in_each_segment() -> None:
    minutes = np.concatenate((np.arange(WARM_UP_BARS + 2), np.arange(WARM_UP_BARS + 3) + 100_000))
    warm = rows_with_features(minutes * 60_000)
    expected = [WARM_UP_BARS, WARM_UP_BARS + 1, *(2 * WARM_UP_BARS + 2 + np.arange(3))]
    assert np.flatnonzero(warm).tolist() == expected


def test_fetched_candles_carry_the_warnings_into_the_record(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_market(tmp_path / "candles", "BTC-USD", days=2)
    config = load_config(None, ("data.source=parquet", f"data.path={folder}"))
    reference = fetch_candles(
        "BTC-USD",
        config.data,
        tmp_path / "run",
        source=open_source(config, home=tmp_path),
        now=datetime(2030, 1, 1, tzinfo=UTC),
    )
    report = json.loads(reference.report.checked().read_text())
    assert report["origin"] == str(folder / "BTC-USD.parquet")
    assert report["data_hash"] == reference.data_hash
    assert any("stale" in warning for warning in report["warnings"])
    assert any("stale" in record.getMessage() for record in caplog.records)


def test_plan_refuses_what_cannot_be_started(tmp_path: Path) -> None:
    config = RunConfig()
    with pytest.raises(ConfigError, match="'DOGE-USD' is not a configured symbol"):
        plan_run(config, home=tmp_path, symbols=("DOGE-USD",), who="test", now=NOW)
    gone = load_config(None, ("data.source=parquet", f"data.path={tmp_path / 'gone'}"))
    with pytest.raises(ConfigError, match="no such folder"):
        plan_run(gone, home=tmp_path, symbols=None, who="test", now=NOW)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        plan_run(config, home=tmp_path / "file", symbols=None, who="test", now=NOW)


def test_plan_keeps_the_resolved_configuration_under_an_id_that_begins_with_the_time(tmp_path: Path) -> None:
    config = load_config(None, ("data.days=3",))
    plan = plan_run(config, home=tmp_path, symbols=("ETH-USD",), who="test", now=NOW)
    assert plan.run_id.startswith("20260115T020000Z-")
    assert plan.date == "2026-01-15"
    assert RunConfig.model_validate_json((plan.folder / "config.json").read_text()) == config
    other = plan_run(config, home=tmp_path, symbols=("ETH-USD",), who="test", now=NOW)
    assert other.folder != plan.folder, "two runs of one second do not share a folder"


def test_as_many_symbols_at_once_as_configured_and_no_more_than_there_are(tmp_path: Path) -> None:
    def plan(*settings: str) -> int:
        config = load_config(None, settings)
        return parallel_symbols(plan_run(config, home=tmp_path, symbols=None, who="test", now=NOW))

    assert plan("training.max_parallel=2") == 2
    assert plan("training.max_parallel=64") == 3
    assert 1 <= plan() <= 3


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (DataError("BTC-USD: no rows."), "BTC-USD: no rows."),
        (KeyError("close"), "KeyError: 'close'"),
        (
            OSError(errno.ENOSPC, "No space left on device", "features.npy"),
            (
                "BTC-USD: a file could not be written ([Errno 28] No space left on device: 'features.npy'). Free space on the "
                "disk of CRPBOT_HOME, `crpbot clean` helps, then run again: what was finished is kept."
            ),
        ),
        (FileNotFoundError(errno.ENOENT, "gone", "x"), "FileNotFoundError: [Errno 2] gone: 'x'"),
    ],
)
def test_failed_outcome_says_why(failure: Exception, reason: str) -> None:
    entry = outcomes.failed_outcome("BTC-USD", failure).summary_entry()
    assert (entry["outcome"], entry["bundle"], entry["metrics"], entry["reason"]) == ("failed", None, None, reason)


def test_headline_counts_and_names(tmp_path: Path) -> None:
    failed = {symbol: outcomes.failed_outcome(symbol, DataError("bad")) for symbol in ("ETH-USD", "SOL-USD")}
    held = failed["ETH-USD"].model_copy(update={"outcome": "held", "symbol": "BTC-USD"})
    mixture = {"BTC-USD": held, **failed}
    assert headline(mixture) == "0 of 3 promoted; held: BTC-USD; failed: ETH-USD, SOL-USD"
    plan = plan_run(RunConfig(), home=tmp_path, symbols=None, who="test", now=NOW)
    summary = write_summary(plan, mixture)
    assert summary.any_failed
    assert json.loads(summary.file.checked().read_text())["symbols"]["SOL-USD"]["reason"] == "bad"
    assert not write_summary(plan, {"BTC-USD": held}).any_failed, "held is a normal night"


def judged_entry(symbol: str, best: float | None) -> outcomes.SymbolOutcome:
    metrics = {"test": {"accuracy": 0.7, "mechanical_rule_accuracy": 0.6, "best_possible_accuracy": best}}
    return outcomes.failed_outcome(symbol, DataError("")).model_copy(update={"outcome": "held", "metrics": metrics})


def test_table_has_the_best_possible_accuracy_where_a_symbol_has_one(tmp_path: Path) -> None:
    plan = plan_run(RunConfig(), home=tmp_path, symbols=None, who="test", now=NOW)
    failed = outcomes.failed_outcome("ETH-USD", DataError("bad"))

    def table(best: float | None) -> list[dict[str, object]]:
        return table_rows(write_summary(plan, {"BTC-USD": judged_entry("BTC-USD", best), "ETH-USD": failed}))

    assert [row["best possible"] for row in table(0.75)] == ["\N{EN DASH}", "75.0 %"], "the failed one stands first"
    assert all("best possible" not in row for row in table(None))


def test_summary_of_a_run_with_other_limits_says_so(tmp_path: Path) -> None:
    config = load_config(None, ("gates.accuracy.limit=0.5", "evaluation.costs_bp=0"))
    plan = plan_run(config, home=tmp_path, symbols=None, who="test", now=NOW)
    write_summary(plan, {"BTC-USD": judged_entry("BTC-USD", None)})
    page = (plan.folder / "summary.md").read_text()
    assert "| gates.accuracy.limit | 0.5 | 0.68 |" in page
    assert "| evaluation.costs_bp | 0 | 10 |" in page


def test_clock_measures_steps_also_when_they_raise() -> None:
    clock = StepClock("BTC-USD")
    with clock.step("first"):
        pass
    with pytest.raises(DataError), clock.step("second"):
        raise DataError("bad")
    assert list(clock.seconds) == list(clock.peak_rss_mb) == ["first", "second"]
    assert min(clock.peak_rss_mb.values()) > 1.0  # MiB; no interpreter runs in less


def test_what_goes_on_after_a_pause_keeps_what_was_measured_before(
    btc: PreparedSymbol, judged: Judged, tmp_path: Path
) -> None:
    before = judged.stored(btc, StoredRef(bundle=judged.candidate.bundle, report=tmp_path / "report.html"))
    clock = StepClock("BTC-USD")
    clock.go_on_from(before.model_copy(update={"seconds": {"train": 40.0}, "peak_rss_mb": {"train": 900.0}}))
    with clock.step("promote"):
        pass
    assert list(clock.seconds) == list(clock.peak_rss_mb) == ["train", "promote"]
    assert clock.peak_rss_mb["train"] == 900.0


def test_no_step_begins_when_the_symbols_time_is_over() -> None:
    clock = StepClock("BTC-USD", limit_minutes=1e-9)
    with (
        pytest.raises(
            TrainingError, match=r"before its step promote \(at most 1e-09: orchestration\.symbol_time_limit"
        ),
        clock.step("promote"),
    ):
        pytest.fail("the step began")
    assert clock.seconds == {}


def test_no_step_begins_after_a_stop() -> None:
    request_stop()
    try:
        with pytest.raises(StoppedError), StepClock("BTC-USD").step("promote"):
            pytest.fail("the step began")
    finally:
        allow_work()


@pytest.mark.parametrize(
    ("champion_source", "source", "told"),
    [
        ("simulated", "simulated", "on 2,[0-9]{3} test rows after the validation ends"),
        ("parquet", "parquet", "on 2,[0-9]{3} test rows after the validation ends"),
        ("simulated", "parquet", "on 2,[0-9]{3} test rows after the validation ends"),
        ("parquet", "simulated", "a model of the simulated market never replaces one of real candles"),
    ],
)
def test_champion_of_the_simulated_market_never_stands_in_the_way_of_real_candles_nor_replaces_their_model(
    btc: PreparedSymbol, judged: Judged, tmp_path: Path, champion_source: str, source: str, told: str
) -> None:
    def plan(data_source: str) -> RunPlan:
        path = None if data_source == "simulated" else tmp_path
        data = btc.config.data.model_copy(update={"source": data_source, "path": path})
        config = btc.config.model_copy(update={"data": data})
        places = {"home": tmp_path / "home", "folder": tmp_path / "run"}
        return btc.plan.model_copy(update={"config": config, **places})

    def candidate_of(run: RunPlan, name: str) -> CandidateRef:
        (tmp_path / name).mkdir()
        return build_candidate(run.config, btc.prepared, judged.fitted, tmp_path / name)

    (tmp_path / "home").mkdir()
    first = plan(champion_source)
    first.symbol_folder("BTC-USD").mkdir(parents=True)
    champion = candidate_of(first, "first")
    judgement = judged_now(first, btc.prepared, judged.fitted, champion)
    stored = store_candidate(
        first, btc.prepared, judged.fitted, champion, judgement, registry=open_registry(first.home), seconds={}, now=NOW
    )
    candidate = judged.stored(btc, stored).model_copy(update={"judgement": judgement})
    assert promote_candidate(first, candidate, registry=open_registry(first.home), now=NOW).outcome == "promoted"

    def gate_of_next_run() -> dict[str, Any]:
        run = plan(source)
        candidate = candidate_of(run, secrets.token_hex(4))
        again = judged_now(run, btc.prepared, judged.fitted, candidate)
        kept = json.loads(again.judgement.checked().read_text())
        gates = {gate["name"]: gate for gate in kept["gates"]}
        return {**gates["not_worse_than_champion"], "old": kept["champion_figures"]}

    against = gate_of_next_run()
    assert re.search(told, against["note"])
    assert against["passed"] == (against["value"] is not None) == told.startswith("on")
    assert against["old"]["measured_on"] == ("same_rows" if against["passed"] else "own_run")
    (verdict,) = open_registry(tmp_path / "home").store.verdicts(champion.bundle)
    own = verdict.metrics
    assert against["old"]["accuracy"] == pytest.approx(own["accuracy"]), "it is the same model on the same rows"
    assert against["old"]["nll"] == pytest.approx(own["nll"], abs=1e-6)

    model = tmp_path / "home" / "store" / "bundles" / champion.bundle / "model.safetensors"
    model.write_bytes(model.read_bytes()[:-1])
    damaged = gate_of_next_run()
    assert (damaged["value"], damaged["passed"]) == (None, False), (
        "a champion that cannot be loaded holds the candidate"
    )
    assert "the champion cannot be loaded" in damaged["note"]
