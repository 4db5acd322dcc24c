"""Runs that train in SageMaker's stand-in, killed and interrupted: what was begun is taken over, and nothing runs unwanted."""

import json
import os
import re
import signal
import sys
from pathlib import Path

import pytest

from models_lib.costs import CostLedger
from tests.aws.cloud import Cloud
from tests.aws.workplaces import MACHINE, REPOSITORY, TAG
from tests.flows.running import crpbot, running
from tests.markets import LENIENT, QUICK

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(600),
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]
ENDLESS = ("training.max_epochs=100000", "training.patience=100000", "training.gate_stop_epochs=100000")


@pytest.fixture
def settings(cloud: Cloud) -> tuple[str, ...]:
    """A run whose jobs have everything that they need, without the toolkit's seconds."""
    cloud.configure(runner="direct", hidden=("prefect", "pandas", "boto3", "tensorboard"))
    cloud.with_quota(MACHINE, 1)
    cloud.with_price(MACHINE, 0.12)
    image, role = cloud.with_image(REPOSITORY, TAG), cloud.with_role()
    return (
        "data.days=14",
        *QUICK,
        *LENIENT,
        f"aws.region={cloud.region}",
        "training.backend=sagemaker",
        f"training.sagemaker.uri=s3://{cloud.with_bucket()}/crpbot",
        f"training.sagemaker.role_arn={role}",
        f"training.sagemaker.instance_type={MACHINE}",
        f"training.sagemaker.image={image}",
        "training.sagemaker.approval=auto",
        "training.sagemaker.budget_per_run_usd=5",
        "training.sagemaker.budget_per_month_usd=50",
        "training.sagemaker.poll_seconds=0.2",
        "training.sagemaker.checkpoint_seconds=0.1",
    )


def test_killed_run_leaves_its_job_and_the_next_run_takes_it_over(cloud: Cloud, settings, tmp_path: Path) -> None:
    home = tmp_path / "home"
    cloud.configure(delays={"Starting": 3.0})
    with running(home, *settings) as run:
        run.until("is Starting")
        os.kill(run.process.pid, signal.SIGKILL)
        assert run.process.wait() == -signal.SIGKILL
    (job,) = cloud.jobs()
    assert job.status == "InProgress", "a kill reaches nobody in the cloud"
    words = [word for one in settings for word in ("--set", one)]
    answer = crpbot(home, "run", "--symbols", "BTC-USD", "--json", *words)
    assert answer.returncode == 0, answer.stderr
    assert re.search(rf"{job.name} is \w+: taken over", answer.stderr), answer.stderr
    assert [each.name for each in cloud.jobs()] == [job.name], "paid once"
    assert json.loads(answer.stdout)["symbols"]["BTC-USD"]["outcome"] == "promoted"
    (cost,) = CostLedger(home).jobs()
    assert (cost.job, cost.outcome) == (job.name, "completed")


def test_ctrl_c_stops_the_job(cloud: Cloud, settings, tmp_path: Path) -> None:
    with running(tmp_path / "home", *settings, *ENDLESS) as run:
        run.until("BTC-USD: epoch 2 of")
        os.kill(run.process.pid, signal.SIGINT)
        status, _ = run.end()
    assert status == 130
    (job,) = cloud.jobs()
    assert cloud.wait(job.name)["TrainingJobStatus"] == "Stopped"
