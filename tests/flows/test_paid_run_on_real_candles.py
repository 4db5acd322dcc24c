"""A run that pays for its trainings ends where a local one ends: the same bundles, byte for byte, and their costs beside them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.aws.cloud import Cloud
from tests.flows.running import crpbot

pytestmark = [pytest.mark.long, pytest.mark.candles, pytest.mark.timeout(900)]

SYMBOL = "BTC-USD"
MACHINE = "ml.m5.xlarge"
"""Without a GPU: there the same training gives the same bytes."""


def run(home: Path, candles: Path, *settings: str) -> dict[str, Any]:
    words = [word for setting in settings for word in ("--set", setting)]
    source = ("--set", "data.source=parquet", "--set", f"data.path={candles / 'perp-50d'}")
    answer = crpbot(home, "run", "--json", "--yes", "--symbols", SYMBOL, *source, *words)
    assert answer.returncode == 0, answer.stderr
    summary: dict[str, Any] = json.loads(answer.stdout)
    return {"summary": summary, "said": answer.stderr}


@pytest.fixture
def paid(cloud: Cloud) -> tuple[str, ...]:
    """Everything that a job needs, in a cloud that has it; the approval is the command's --yes."""
    cloud.with_quota(MACHINE, 1)
    cloud.with_price(MACHINE, 0.276)
    cloud.with_image("pytorch", "2.13.0-cpu-amzn2023-sagemaker")
    return (
        f"aws.region={cloud.region}",
        "training.backend=sagemaker",
        f"training.sagemaker.uri=s3://{cloud.with_bucket()}/crpbot",
        f"training.sagemaker.role_arn={cloud.with_role()}",
        f"training.sagemaker.instance_type={MACHINE}",
        "training.sagemaker.poll_seconds=0.5",
    )


def test_paid_training_promotes_the_bundle_of_the_local_one(
    cloud: Cloud, paid: tuple[str, ...], real_candles: Path, tmp_path: Path
) -> None:
    local = run(tmp_path / "local", real_candles)["summary"]["symbols"][SYMBOL]
    answer = run(tmp_path / "paid", real_candles, *paid)
    there = answer["summary"]["symbols"][SYMBOL]
    assert (local["outcome"], there["outcome"]) == ("promoted", "promoted")
    assert there["bundle"] == local["bundle"]
    assert there["metrics"] == local["metrics"]
    (job,) = cloud.jobs()
    assert (job.status, job.instance_type) == ("Completed", MACHINE)
    assert f"{job.name} is Training" in answer["said"]
    print(answer["said"])
    assert re.search(r"epoch \d of at most 6, validation NLL 0\.5\d+", answer["said"])

    facts = json.loads((tmp_path / "paid" / "store" / "bundles" / there["bundle"] / "run.json").read_text())
    assert facts["backend"] == "sagemaker"
    costs = crpbot(tmp_path / "paid", "costs", "--by", "model", "--json")
    assert costs.returncode == 0, costs.stderr
    (model,) = json.loads(costs.stdout)["items"]
    assert model["billable_seconds"] == job.billable_seconds
    assert facts["cost_usd"] > 0
    assert model["cost_usd"] == pytest.approx(facts["cost_usd"])
    (entry,) = json.loads(crpbot(tmp_path / "paid", "history", "--json").stdout)["entries"]
    assert entry["cost_usd"] == facts["cost_usd"]
