"""How a paid training ends, by what is wrong: what a preflight can know bills nothing, the rest has the container's words.

Each row goes through the backend that a run opens, with the checks that a run makes. What every check says one by one is in
test_preflight.py, and the backend's own laws in test_sagemaker_backend.py.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from models_lib.backends import train
from models_lib.config import load_config
from models_lib.costs import CostLedger
from models_lib.errors import ConfigError, PreflightError, TrainingError, TransientError
from models_lib.steps.plan import RunPlan, plan_run
from models_lib.training import TrainingSpec
from models_lib.training.channel import pack_inputs
from tasks.adapters.sagemaker.backend import SageMakerBackend
from tasks.adapters.sagemaker.inputs import Code
from tasks.adapters.sagemaker.names import job_identity, job_name
from tasks.adapters.sagemaker.workplace import open_sagemaker
from tests.aws.cloud import DLC_ACCOUNT, Cloud
from tests.aws.lasting_tables import write_lasting_tables
from tests.aws.workplaces import MACHINE, ignore, program, small_spec

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

CPU_TAG, GPU_TAG = "2.13.0-cpu-amzn2023-sagemaker", "2.13.0-cu133-amzn2023-sagemaker"
WAITS = "import time; print('half of it is done', flush=True); time.sleep(600)"
MINUTES = 1_440


@dataclass
class Desk:
    """A sound account and a sound run, and what of them a test spoils."""

    cloud: Cloud
    folder: Path
    settings: dict[str, str]
    spec: TrainingSpec
    script: str | None = None
    name_in_archive: str = "train.py"
    somebody_stops_it: bool = False

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def plan(self) -> RunPlan:
        config = load_config(None, [f"{name}={value}" for name, value in self.settings.items()])
        return plan_run(config, home=self.home, symbols=["BTC-USD"], who="me@here", now=datetime.now(UTC))

    def backend(self) -> SageMakerBackend:
        """As a run opens it; with a program of the test's own the checks, which try the real one, are left out."""
        backend = open_sagemaker(self.plan())
        if self.script is not None:
            place = replace(backend._place, code=self.code(), check=lambda *_: None)
            return SageMakerBackend(place)
        return backend

    def code(self) -> Code:
        assert self.script is not None
        return program(self.folder / "code", self.script, name=self.name_in_archive)

    def write_candles(self, rows: int) -> None:
        folder = self.folder / "candles"
        folder.mkdir(exist_ok=True)
        start = pd.Timestamp.now(tz="UTC").floor("min") - pd.Timedelta(minutes=rows)
        times = pd.date_range(start, periods=rows, freq="min", unit="ms")
        pd.DataFrame({"timestamp": times, "close": 1.0}).to_parquet(folder / "BTC-USD.parquet")

    def set(self, **settings: str) -> None:
        self.settings |= {f"training.sagemaker.{name}": value for name, value in settings.items()}


@pytest.fixture
def desk(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    cloud.use(monkeypatch, s3_through_cloud=True)
    cloud.configure(runner="direct")
    cloud.with_image("pytorch", CPU_TAG)
    cloud.with_image("pytorch", GPU_TAG)
    cloud.with_quota(MACHINE, 1)
    cloud.with_quota(MACHINE, 1, spot=True)
    cloud.with_price(MACHINE, 0.36)
    settings = {
        "aws.region": cloud.region,
        "data.source": "parquet",
        "data.path": str(tmp_path / "candles"),
        "data.days": "1",
        "training.backend": "sagemaker",
        "training.device": "cpu",
        "training.sagemaker.uri": f"s3://{cloud.with_bucket()}/crpbot",
        "training.sagemaker.role_arn": cloud.with_role(),
        "training.sagemaker.instance_type": MACHINE,
        "training.sagemaker.tables": str(write_lasting_tables(tmp_path)),
        "training.sagemaker.poll_seconds": "0.05",
        "training.sagemaker.approval": "auto",
        "training.sagemaker.budget_per_run_usd": "5",
        "training.sagemaker.budget_per_month_usd": "50",
    }
    made = Desk(cloud, tmp_path, settings, small_spec(tmp_path / "inputs"))
    made.write_candles(MINUTES)
    return made


def tag_that_does_not_exist(desk: Desk) -> None:
    desk.set(image=f"{DLC_ACCOUNT}.dkr.ecr.{desk.cloud.region}.amazonaws.com/pytorch:2.13.0-cu118-amzn2023-sagemaker")


def no_quota(desk: Desk) -> None:
    desk.cloud.with_quota(MACHINE, 0)


def cuda_without_the_gpu(desk: Desk) -> None:
    desk.cloud.with_quota("ml.p3.2xlarge", 1)
    desk.set(instance_type="ml.p3.2xlarge")


def no_role(desk: Desk) -> None:
    desk.set(role_arn="arn:aws:iam::123456789012:role/nobody")


def bucket_in_another_region(desk: Desk) -> None:
    desk.set(uri=f"s3://{desk.cloud.with_bucket(region='us-east-1')}/crpbot")


def no_candles(desk: Desk) -> None:
    (desk.folder / "candles" / "BTC-USD.parquet").unlink()


def sample_of_candles(desk: Desk) -> None:
    desk.write_candles(MINUTES // 10)


def no_writing(desk: Desk) -> None:
    desk.cloud.deny("s3:PutObject", principal="caller")


def small_budget(desk: Desk) -> None:
    desk.set(budget_per_run_usd="0.7")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (tag_that_does_not_exist, ("cu118", "there is no such image", "Set training.sagemaker.image to")),
        (no_quota, (f"'{MACHINE} for training job usage' is 0", "Ask AWS for 1", "quota L-")),
        (cuda_without_the_gpu, ("V100", "compute capability 7.0 (at least 7.5 needed)", "Choose a machine")),
        (no_role, ("role/nobody: there is no such role", "training.sagemaker.role_arn")),
        (bucket_in_another_region, ("in us-east-1", "they must be one", "Set aws.region")),
        (no_candles, ("data of BTC-USD", "BTC-USD.parquet")),
        (sample_of_candles, ("data of BTC-USD", "144 candles", "at least 1,296 candles")),
        (no_writing, ("the caller may not write there", "Allow s3:PutObject")),
        (small_budget, ("at most 0.75 USD", "at most 0.70 allowed a run", "budget_per_run_usd")),
    ],
)
def test_what_a_preflight_can_know_bills_nothing(
    desk: Desk, spoil: Callable[[Desk], None], words: tuple[str, ...]
) -> None:
    spoil(desk)
    with pytest.raises(PreflightError, match="no job was submitted and nothing was billed") as caught:
        train(desk.backend(), desk.spec, on_progress=ignore)
    assert not [word for word in words if word not in str(caught.value)], str(caught.value)
    assert desk.cloud.jobs() == []
    assert CostLedger(desk.home).jobs() == ()
    assert "sagemaker:CreateTrainingJob" not in desk.cloud.requests()


def test_missing_entry_script_is_seen_in_the_archive_that_would_be_sent(desk: Desk) -> None:
    backend = desk.backend()
    somebodys = program(desk.folder / "code", "print('never run')", name="main.py")
    backend._place.code.archive.write_bytes(somebodys.archive.read_bytes())
    with pytest.raises(PreflightError, match=r"train\.py") as caught:
        backend.submit(desk.spec)
    assert "no job was submitted and nothing was billed" in str(caught.value)
    assert desk.cloud.jobs() == []


def missing_script(desk: Desk) -> None:
    desk.script, desk.name_in_archive = "print('never run')", "main.py"


def fails_in_its_own_words(desk: Desk) -> None:
    desk.script = "raise ValueError('NaN in the loss of epoch 2')"


def stopped_by_nobody_knows_whom(desk: Desk) -> None:
    desk.script = WAITS
    desk.somebody_stops_it = True


def killed(desk: Desk) -> None:
    desk.script = WAITS
    desk.cloud.kill(pattern="half of it", after_lines=1)


def beyond_its_time(desk: Desk) -> None:
    desk.script = WAITS
    desk.set(max_runtime_seconds="60")
    desk.cloud.configure(runner="direct", seconds_per_second=60.0)


def taken_back_and_no_other_machine(desk: Desk) -> None:
    desk.script = WAITS
    desk.set(spot="true", max_runtime_seconds="60", max_wait_seconds="60")
    desk.cloud.configure(runner="direct", seconds_per_second=20.0, delays={"Interrupted": 60.0})
    desk.cloud.interrupt_spot(pattern="half of it", after_lines=1)


@pytest.mark.parametrize(
    ("spoil", "kind", "words"),
    [
        (missing_script, TrainingError, ("failed", "can't open file", "train.py", "Mend what the reason or the log")),
        (fails_in_its_own_words, TrainingError, ("  | ValueError: NaN in the loss of epoch 2",)),
        (stopped_by_nobody_knows_whom, TrainingError, ("was stopped by somebody before it was done", "  | half of it")),
        (killed, TrainingError, ("was killed (exit code 137)", "more memory", "  | half of it is done")),
        (beyond_its_time, TrainingError, ("time limit (training.sagemaker.max_runtime_seconds)", "Raise the limit")),
        (
            taken_back_and_no_other_machine,
            TrainingError,
            ("got no spare machine, or lost it", "training.sagemaker.spot=false", "  | half of it is done"),
        ),
    ],
)
def test_end_of_a_job_has_its_words_its_remedy_and_its_cost(
    desk: Desk, spoil: Callable[[Desk], None], kind: type[Exception], words: tuple[str, ...]
) -> None:
    spoil(desk)
    backend = desk.backend()
    job = backend.submit(desk.spec)
    if desk.somebody_stops_it:
        desk.cloud.wait(job.name, until=["Training"])
        desk.cloud.client("sagemaker").stop_training_job(TrainingJobName=job.name)
    with pytest.raises(kind) as caught:
        backend.wait(job, on_progress=ignore)
    said = str(caught.value)
    assert not [word for word in words if word not in said], said
    assert said.startswith(f"BTC-USD: the SageMaker job {job.name} ")
    (cost,) = CostLedger(desk.home).jobs()
    assert cost.outcome in {"failed", "stopped"}
    assert cost.billable_seconds
    assert f"({cost.billable_seconds:.0f} billable seconds)" in said
    assert not isinstance(caught.value, TransientError), "what was billed is not paid again by a retry"


def test_spare_machine_taken_back_is_waited_for(desk: Desk) -> None:
    """The job goes on by itself; a model that the test's program does not make is another matter."""
    desk.script = "import time; print('half of it', flush=True); time.sleep(1)"
    desk.set(spot="true")
    desk.cloud.interrupt_spot(pattern="half of it", after_lines=1)
    backend = desk.backend()
    job = backend.submit(desk.spec)
    backend.wait(job, on_progress=ignore)
    (seen,) = desk.cloud.jobs()
    assert (seen.name, seen.status) == (job.name, "Completed")
    (cost,) = CostLedger(desk.home).jobs()
    assert cost.billable_seconds == seen.billable_seconds < seen.training_seconds


def test_name_that_somebody_else_has_is_refused(desk: Desk) -> None:
    backend = desk.backend()
    place = backend._place
    sent = pack_inputs(desk.spec, desk.folder / "channel")
    identity = job_identity(
        inputs_sha256=sent.sha256,
        image=place.image.uri,
        archive_sha256=place.code.sha256,
        instance_type=MACHINE,
        device="cpu",
    )
    name = job_name("BTC-USD", identity, 1)
    desk.cloud.configure(delays={"Starting": 600.0})
    desk.cloud.client("sagemaker").create_training_job(
        TrainingJobName=name,
        RoleArn=desk.settings["training.sagemaker.role_arn"],
        AlgorithmSpecification={"TrainingImage": place.image.uri, "TrainingInputMode": "File"},
        OutputDataConfig={"S3OutputPath": f"{place.storage.uri}/of-others"},
        ResourceConfig={"InstanceType": MACHINE, "InstanceCount": 1, "VolumeSizeInGB": 10},
        StoppingCondition={"MaxRuntimeInSeconds": 3_600},
    )
    with pytest.raises(ConfigError, match=rf"{name} that trains something else .* Delete it, or change training\.seed"):
        backend.submit(desk.spec)
    assert [job.name for job in desk.cloud.jobs()] == [name]
    assert CostLedger(desk.home).jobs() == ()
