"""The shipped configuration on real candles, by the command that the README shows: verdicts, figures, reproducibility."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from models_lib.bundle import is_sound, verify_bundle
from models_lib.config import LabelSection, RunConfig
from models_lib.features import WARM_UP_BARS
from tests.aws.cloud import Cloud
from tests.flows.running import ROOT, crpbot
from tests.summary_names import TEST_METRICS

pytestmark = [pytest.mark.long, pytest.mark.candles, pytest.mark.xdist_group("real"), pytest.mark.timeout(900)]

MOST_NLL = {"BTC-USD": 0.590, "ETH-USD": 0.605, "SOL-USD": 0.611}
"""Asked for by the requirement for 50 days; a first comparison of recipes had .588 / .603 / .609."""
DRIFTLESS_NLL = {"BTC-USD": 0.585, "ETH-USD": 0.600, "SOL-USD": 0.606}
"""What the same first comparison measured for the driftless rule."""

Summary = dict[str, Any]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("real") / "home"


@pytest.fixture(scope="module")
def run(home: Path, real_candles: Path) -> Callable[..., Summary]:
    """`crpbot run --json` on a folder of the real candles."""

    def go(folder: str, *words: str) -> Summary:
        source = ("--set", "data.source=parquet", "--set", f"data.path={real_candles / folder}")
        answer = crpbot(home, "run", "--json", *source, *words)
        assert answer.returncode == 0, answer.stderr
        summary: Summary = json.loads(answer.stdout)
        assert summary == json.loads((home / "runs" / summary["run_id"] / "summary.json").read_text())
        return summary

    return go


@pytest.fixture(scope="module")
def verdicts(run: Callable[..., Summary]) -> Summary:
    """All three symbols, 50 days."""
    symbols: Summary = run("perp-50d")["symbols"]
    return symbols


@pytest.mark.parametrize("symbol", MOST_NLL)
def test_every_blocking_gate_passes_and_the_model_is_promoted(verdicts: Summary, symbol: str) -> None:
    entry = verdicts[symbol]
    assert [gate for gate in entry["gates"] if gate["severity"] == "blocking" and not gate["passed"]] == []
    assert (entry["outcome"], entry["reason"]) == ("promoted", "")
    named = {gate["name"]: gate for gate in entry["gates"] if gate["split"] != "validation"}
    assert named["beats_mechanical_rule"]["passed"]
    assert named["beats_driftless_rule"]["value"] is not None, "reported, whatever it says"


@pytest.mark.parametrize("symbol", MOST_NLL)
def test_figures_reach_what_was_asked_for(verdicts: Summary, symbol: str) -> None:
    test = verdicts[symbol]["metrics"]["test"]
    assert set(test) >= TEST_METRICS
    assert test["nll"] <= MOST_NLL[symbol]
    assert test["ece"] < 0.03
    assert test["driftless_rule_nll"] == pytest.approx(DRIFTLESS_NLL[symbol], abs=0.0015)
    assert 0.72 <= test["mechanical_rule_accuracy"] <= 0.745, "0.72-0.74 by the specification's section 4"
    low, high = test["nll_improvement_interval"]
    assert 0 < low < test["nll_improvement"] < high
    assert set(verdicts[symbol]["seconds"]) >= {"candles", "features", "train", "judge", "report", "promote"}


def test_same_candles_give_the_same_bundle_again(verdicts: Summary, run: Callable[..., Summary]) -> None:
    again = run("perp-50d", "--symbols", "BTC-USD")["symbols"]["BTC-USD"]
    assert again["bundle"] == verdicts["BTC-USD"]["bundle"]
    assert (again["outcome"], again["reason"]) == ("promoted", "already champion")


@pytest.fixture
def paid(cloud: Cloud) -> tuple[str, ...]:
    """Everything that a job needs, in a cloud that has it; a machine without a GPU: there the same gives the same bytes."""
    cloud.with_quota("ml.m5.xlarge", 1)
    cloud.with_price("ml.m5.xlarge", 0.276)
    cloud.with_image("pytorch", "2.13.0-cpu-amzn2023-sagemaker")
    return (
        f"aws.region={cloud.region}",
        "training.backend=sagemaker",
        f"training.sagemaker.uri=s3://{cloud.with_bucket()}/crpbot",
        f"training.sagemaker.role_arn={cloud.with_role()}",
        "training.sagemaker.instance_type=ml.m5.xlarge",
        "training.sagemaker.poll_seconds=0.5",
    )


def test_paid_training_promotes_the_bundle_of_the_local_one(
    verdicts: Summary, cloud: Cloud, paid: tuple[str, ...], real_candles: Path, tmp_path: Path
) -> None:
    """Through AWS's own `train`, in a home of its own; the approval is the command's --yes."""
    settings = ("data.source=parquet", f"data.path={real_candles / 'perp-50d'}", *paid)
    words = [word for setting in settings for word in ("--set", setting)]
    answer = crpbot(tmp_path, "run", "--json", "--yes", "--symbols", "BTC-USD", *words)
    assert answer.returncode == 0, answer.stderr
    here, there = verdicts["BTC-USD"], json.loads(answer.stdout)["symbols"]["BTC-USD"]
    assert (there["outcome"], there["bundle"]) == ("promoted", here["bundle"])
    assert there["metrics"] == here["metrics"]
    (job,) = cloud.jobs()
    assert job.status == "Completed"
    assert f"{job.name} is Training" in answer.stderr
    at_most = RunConfig().training.max_epochs
    assert re.search(rf"epoch \d of at most {at_most}, validation NLL 0\.5\d+", answer.stderr)

    facts = json.loads((tmp_path / "store" / "bundles" / there["bundle"] / "run.json").read_text())
    assert facts["backend"] == "sagemaker"
    assert facts["cost_usd"] > 0
    costs = crpbot(tmp_path, "costs", "--by", "model", "--json")
    assert costs.returncode == 0, costs.stderr
    (model,) = json.loads(costs.stdout)["items"]
    assert model["billable_seconds"] == job.billable_seconds
    assert model["cost_usd"] == pytest.approx(facts["cost_usd"])
    (entry,) = json.loads(crpbot(tmp_path, "history", "--json").stdout)["entries"]
    assert entry["cost_usd"] == facts["cost_usd"]


def test_stored_bundles_are_sound(verdicts: Summary, home: Path) -> None:
    for entry in verdicts.values():
        assert is_sound(verify_bundle(home / "store" / "bundles" / entry["bundle"]))


def test_forward_return_is_held_on_accuracy(run: Callable[..., Summary]) -> None:
    """An honest model has 0.40-0.44 accuracy (the specification's section 4): the gates tell the truth."""
    words = ("--symbols", "BTC-USD", "--config", str(ROOT / "configs" / "forward_return.yaml"))
    entry = run("perp-50d", *words)["symbols"]["BTC-USD"]
    assert entry["outcome"] == "held"
    assert "accuracy" in entry["reason"]
    assert 0.36 < entry["metrics"]["test"]["accuracy"] < 0.46


def test_months_long_holes_are_shown_and_nothing_straddles_one(run: Callable[..., Summary], home: Path) -> None:
    """SOL-USD of the two years: 157,051 rows in four stretches, 2024-10, 2025-01, 2025-03 and 2026-03."""
    summary = run("spot-2y", "--symbols", "SOL-USD")
    entry = summary["symbols"]["SOL-USD"]
    assert entry["outcome"] in {"promoted", "held"}
    folder = home / "runs" / summary["run_id"] / "SOL-USD"

    stamps = pd.read_parquet(folder / "candles" / "candles.parquet")["timestamp"]
    minutes = stamps.dt.tz_localize(None).to_numpy("datetime64[m]").astype(np.int64)
    labels, label = load_file(folder / "labels" / "labels.safetensors"), LabelSection()
    used = np.concatenate([labels[part] for part in ("train", "validation", "test")])
    # Minute and row number move together exactly where no minute is missing in between.
    back, ahead = max(WARM_UP_BARS, label.lookback_minutes - 1), label.horizon_minutes
    assert (minutes[used] - minutes[used - back] == back).all()
    assert (minutes[used + ahead] - minutes[used] == ahead).all()
    assert sum(entry["rows"].values()) == used.size
    assert used.size > 157_051 - 4 * (back + ahead) - 2 * (label.lookback_minutes + ahead) - 10, (
        "and nothing else is lost"
    )

    report = (folder / "report.html").read_text()
    for hole in ("82,300 from 2024-11-04T20:20Z", "34,960 from 2025-02-04T20:20Z", "513,189 from 2025-04-01T03:00Z"):
        assert hole in report
