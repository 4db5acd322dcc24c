"""Preflight against a cloud that is sound but for one thing: that one is found, with its remedy, and nothing is billed."""

import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from models_lib.config import RunConfig, load_config
from models_lib.costs import CostLedger, CostLine, Price
from models_lib.errors import ConfigError, PreflightError
from models_lib.files import sha256_file
from models_lib.preflight import Finding, Preflight
from models_lib.training.channel import pack_inputs
from tasks.adapters.aws.clients import Aws
from tasks.adapters.candle_rows import data_finding
from tasks.adapters.sagemaker.archive import build_archive
from tasks.adapters.sagemaker.checks import preflight
from tasks.adapters.sagemaker.names import job_identity, job_name
from tests.aws.cloud import DLC_ACCOUNT, Cloud
from tests.ports import free_port
from tests.small_training import small_spec

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
SYMBOLS = ("BTC-USD", "ETH-USD", "SOL-USD")
TAG = "2.13.0-cu133-amzn2023-sagemaker"
CHECKS = [
    "credentials",
    "region",
    "image",
    "image support",
    "torch",
    "gpu",
    "instance",
    "quota",
    "archive",
    "entry script",
    *["data"] * 3,
    "volume",
    "role",
    "role rights",
    "pass role",
    "bucket",
    "costs",
    "time limit",
    *["job name"] * 3,
]


@dataclass
class Desk:
    """A sound account, and what of it a test spoils before it asks."""

    cloud: Cloud
    folder: Path
    role: str
    bucket: str
    monkeypatch: pytest.MonkeyPatch
    archive: Path
    settings: dict[str, str] = field(default_factory=dict)
    arguments: dict[str, Any] = field(default_factory=dict)
    of_others: list[str] = field(default_factory=list)

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def candles(self) -> Path:
        return self.folder / "candles"

    def config(self) -> RunConfig:
        settings = {
            "aws.region": "eu-central-1",
            "data.source": "parquet",
            "data.path": str(self.candles),
            "data.days": "1",
            "training.backend": "sagemaker",
            "training.max_parallel": "3",
            "training.sagemaker.uri": f"s3://{self.bucket}/trainings",
            "training.sagemaker.role_arn": self.role,
            "training.sagemaker.budget_per_run_usd": "20",
            "training.sagemaker.budget_per_month_usd": "100",
        } | self.settings
        return load_config(None, [f"{name}={value}" for name, value in settings.items()])

    def ask(self) -> Preflight:
        usual = {"symbols": SYMBOLS, "home": self.home, "now": NOW, "archive": self.archive}
        return preflight(self.config(), **({"aws": clients_of(self.cloud.port)} | usual | self.arguments))

    def job_of_others(self, name: str, **hyperparameters: str) -> None:
        """A job that somebody made by hand, and that is about to begin."""
        self.cloud.configure(delays={"Starting": 600.0})
        self.cloud.client("sagemaker").create_training_job(
            TrainingJobName=name,
            RoleArn=self.role,
            AlgorithmSpecification={
                "TrainingImage": f"{DLC_ACCOUNT}.dkr.ecr.eu-central-1.amazonaws.com/pytorch:{TAG}",
                "TrainingInputMode": "File",
            },
            HyperParameters=hyperparameters,
            OutputDataConfig={"S3OutputPath": f"s3://{self.bucket}/of-others"},
            ResourceConfig={"InstanceType": "ml.g5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 10},
            StoppingCondition={"MaxRuntimeInSeconds": 3_600},
        )
        self.of_others.append(name)

    def prepare(self) -> tuple[str, Path]:
        """Makes inputs and archive of BTC-USD's job; the job's name, and the folder of the inputs."""
        channel = self.folder / "channel"
        sent = pack_inputs(small_spec(self.folder / "training"), channel)
        self.arguments = {"symbols": ["BTC-USD"], "prepared": {"BTC-USD": channel}}
        identity = job_identity(
            inputs_sha256=sent.sha256,
            image=f"{DLC_ACCOUNT}.dkr.ecr.eu-central-1.amazonaws.com/pytorch:{TAG}",
            archive_sha256=sha256_file(self.archive),
            instance_type="ml.g5.xlarge",
            device="auto",
        )
        return job_name("BTC-USD", identity, 1), channel

    def write_candles(self, symbol: str, rows: int) -> None:
        times = pd.date_range("2026-11-19", periods=rows, freq="min", tz="UTC", unit="ms")
        pd.DataFrame({"timestamp": times, "close": 1.0}).to_parquet(self.candles / f"{symbol}.parquet")


@lru_cache(maxsize=1)
def clients_of(port: int) -> Aws:
    """Clients for the stand-in at this port, made once: they take longer than all that they are asked."""
    return Aws("eu-central-1", attempts=1)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built once: it takes longer than all else that a preflight does."""
    return build_archive(tmp_path_factory.mktemp("archive")).path


@pytest.fixture
def desk(cloud: Cloud, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    cloud.use(monkeypatch, s3_through_cloud=True)
    cloud.with_image("pytorch", TAG)
    cloud.with_quota("ml.g5.xlarge", 3)
    cloud.with_price("ml.g5.xlarge", 1.76)
    made = Desk(cloud, tmp_path, cloud.with_role(), cloud.with_bucket(), monkeypatch, archive)
    made.candles.mkdir()
    for symbol in SYMBOLS:
        made.write_candles(symbol, 1_400)
    yield made
    assert [job.name for job in cloud.jobs()] == made.of_others, "a preflight must not submit anything"
    assert "sagemaker:CreateTrainingJob" not in cloud.requests()


def names(preflight: Preflight) -> list[str]:
    return [finding.check for finding in preflight.findings]


def told(findings: tuple[Finding, ...] | list[Finding]) -> str:
    return "\n".join(f"{each.subject}: {each.answer}: {each.fact} -> {each.remedy}" for each in findings)


def test_sound_account_passes_every_check(desk: Desk) -> None:
    found = desk.ask()
    assert names(found) == CHECKS
    assert [each for each in found.findings if each.answer != "pass"] == [], told(found.findings)
    facts = {each.check: each.fact for each in found.findings}
    assert facts["image"].startswith(f"{DLC_ACCOUNT}.dkr.ecr.eu-central-1.amazonaws.com/pytorch:{TAG}, sha256:")
    assert "1,400 candles" in facts["data"]
    assert "97.2% of the 1,440 minutes" in facts["data"]
    assert facts["quota"] == "'ml.g5.xlarge for training job usage' is 3; 0 run now, 3 more shall run at once"
    assert "at most 11.00 USD for 3 jobs" in facts["costs"]
    assert "1.76 USD/h as of 2026-11-20 (AWS Pricing API)" in facts["costs"]
    assert "in eu-central-1" in facts["region"]
    assert desk.cloud.client("s3").list_objects_v2(Bucket=desk.bucket).get("Contents", []) == []
    found.refuse()
    assert desk.cloud.requests()["sagemaker:ListTrainingJobs"] == 4, (
        "what is asked is counted, so is what would be created"
    )


def bad_tag(desk: Desk) -> None:
    desk.settings["training.sagemaker.image"] = (
        f"{DLC_ACCOUNT}.dkr.ecr.eu-central-1.amazonaws.com/pytorch:2.13.0-cu118-amzn2023-sagemaker"
    )


def bad_repository(desk: Desk) -> None:
    desk.settings["training.sagemaker.image"] = (
        f"{DLC_ACCOUNT}.dkr.ecr.eu-central-1.amazonaws.com/crp-train:2.0-gpu-cu118"
    )


def bad_key(desk: Desk) -> None:
    desk.settings["training.sagemaker.image"] = "pytorch-2.13"


def old_image(desk: Desk) -> None:
    desk.cloud.with_image("pytorch-training", "2.9.0-gpu-py312-cu130-ubuntu22.04-sagemaker")
    desk.settings["training.sagemaker.image"] = "pytorch-2.9-gpu"


def cuda_without_the_gpu(desk: Desk) -> None:
    desk.cloud.with_quota("ml.p3.2xlarge", 3)
    desk.cloud.with_price("ml.p3.2xlarge", 2.0)
    desk.settings["training.sagemaker.instance_type"] = "ml.p3.2xlarge"


def image_for_another_device(desk: Desk) -> None:
    desk.cloud.with_image("pytorch", "2.13.0-cpu-amzn2023-sagemaker")
    desk.settings["training.sagemaker.image"] = "pytorch-2.13-cpu"


def typo_in_the_machine(desk: Desk) -> None:
    desk.cloud.with_price("ml.g5.xlrage", 1.76)
    desk.settings["training.sagemaker.instance_type"] = "ml.g5.xlrage"
    desk.settings["training.sagemaker.image"] = "pytorch-2.13-gpu"


def no_quota(desk: Desk) -> None:
    desk.cloud.with_quota("ml.g5.xlarge", None)


def quota_for_two(desk: Desk) -> None:
    desk.cloud.with_quota("ml.g5.xlarge", 2)


def no_quota_for_spot(desk: Desk) -> None:
    desk.settings["training.sagemaker.spot"] = "true"


def no_role(desk: Desk) -> None:
    desk.settings["training.sagemaker.role_arn"] = "arn:aws:iam::123456789012:role/crpbot-trainer"


def role_of_others(desk: Desk) -> None:
    desk.settings["training.sagemaker.role_arn"] = "arn:aws:iam::999999999999:role/crpbot-training"


def role_for_lambda(desk: Desk) -> None:
    desk.settings["training.sagemaker.role_arn"] = desk.cloud.with_role("for-lambda", trust="lambda.amazonaws.com")


def role_without_rights(desk: Desk) -> None:
    desk.cloud.deny("s3:GetObject", principal="crpbot-training")


def role_not_to_be_passed(desk: Desk) -> None:
    desk.cloud.deny("iam:PassRole", principal="caller")


def bucket_elsewhere(desk: Desk) -> None:
    bucket = desk.cloud.with_bucket(region="us-east-1")
    desk.settings["training.sagemaker.uri"] = f"s3://{bucket}/trainings"


def image_elsewhere(desk: Desk) -> None:
    ecr = Aws("us-east-1").client("ecr")
    ecr.create_repository(registryId=DLC_ACCOUNT, repositoryName="pytorch")
    manifest = '{"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json", "layers": []}'
    ecr.put_image(registryId=DLC_ACCOUNT, repositoryName="pytorch", imageTag=TAG, imageManifest=manifest)
    desk.settings["training.sagemaker.image"] = f"{DLC_ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/pytorch:{TAG}"


def no_bucket(desk: Desk) -> None:
    desk.settings["training.sagemaker.uri"] = "s3://nobody-made-this-one/trainings"


def no_writing(desk: Desk) -> None:
    desk.cloud.deny("s3:PutObject", principal="caller")


def no_candles(desk: Desk) -> None:
    (desk.candles / "ETH-USD.parquet").unlink()


def sample_of_candles(desk: Desk) -> None:
    desk.write_candles("ETH-USD", 1_000)


def damaged_candles(desk: Desk) -> None:
    (desk.candles / "ETH-USD.parquet").write_bytes(b"PAR1 no more")


def small_disk(desk: Desk) -> None:
    desk.settings |= {"data.source": "simulated", "data.path": "null", "data.days": "3650"}
    desk.settings["training.sagemaker.volume_gb"] = "2"


def little_money_for_a_run(desk: Desk) -> None:
    desk.settings["training.sagemaker.budget_per_run_usd"] = "10.99"


def little_money_for_the_month(desk: Desk) -> None:
    price = Price(1.76, date(2026, 11, 1), "a test")
    line = CostLine("earlier", "a-run", "BTC-USD", "sagemaker", "ml.g5.xlarge", False, price, 95.0)
    CostLedger(desk.home).reserve(line, per_run_usd=None, per_month_usd=None, now=NOW)


def no_price_for_the_budget(desk: Desk) -> None:
    desk.cloud.deny("pricing:GetProducts", principal="caller")


def limit_below_what_jobs_take(desk: Desk) -> None:
    ledger, price = CostLedger(desk.home), Price(1.76, date(2026, 11, 1), "a test")
    line = CostLine("earlier", "a-run", "SOL-USD", "sagemaker", "ml.g5.xlarge", False, price, 5.0)
    ledger.reserve(line, per_run_usd=None, per_month_usd=None, now=NOW)
    ledger.settle("earlier", billable_seconds=3_700, training_seconds=3_650, outcome="completed", now=NOW)
    desk.settings["training.sagemaker.max_runtime_seconds"] = "3600"


@pytest.mark.parametrize(
    ("spoil", "check", "fact", "remedy"),
    [
        (bad_tag, "image", "there is no such image in registry 763104351884", f"pytorch-2.13-gpu (pytorch:{TAG})"),
        (bad_repository, "image", "has no repository crp-train", "a row of the table"),
        (bad_key, "image", "neither a whole URI", "training.sagemaker.image"),
        (old_image, "image support", "mends pytorch-training:2.9.0-gpu", "pytorch-2.13-gpu or pytorch-2.14-gpu"),
        (cuda_without_the_gpu, "gpu", "V100 of ml.p3.2xlarge with compute capability 7.0 (at least 7.5", "pytorch-2.8-gpu"),
        (image_for_another_device, "gpu", "built for cpu, ml.g5.xlarge has GPU A10G", "image out"),
        (typo_in_the_machine, "instance", "no ml.g5.xlrage among its 225 kinds", "ml.g5.xlarge"),
        (no_quota, "quota", "is 0; 0 run now, 3 more", "Ask AWS for 3: Service Quotas, Amazon SageMaker, quota L-"),
        (quota_for_two, "quota", "is 2; 0 run now, 3 more", "training.max_parallel=2"),
        (no_quota_for_spot, "quota", "'ml.g5.xlarge for spot training job usage' is 0", "Ask AWS for 3"),
        (no_role, "role", "there is no such role in account 123456789012", "role_arn"),
        (role_of_others, "role", "of account 999999999999, the caller of 123456789012", "other credentials"),
        (role_for_lambda, "role", "does not let sagemaker.amazonaws.com assume it", "Allow sts:AssumeRole"),
        (role_without_rights, "role rights", "may not do s3:GetObject on arn:aws:s3:::", "policy of the role"),
        (role_not_to_be_passed, "pass role", "may not do iam:PassRole", "iam:PassRole on arn:aws:iam"),
        (bucket_elsewhere, "region", "in us-east-1", "Set aws.region"),
        (image_elsewhere, "region", "the image in us-east-1", "Set aws.region"),
        (no_bucket, "bucket", "there is no bucket nobody-made-this-one", "Make it in eu-central-1"),
        (no_writing, "bucket", "the caller may not write there", "s3:PutObject"),
        (no_candles, "data of ETH-USD", "ETH-USD.parquet", "Correct data.source"),
        (sample_of_candles, "data of ETH-USD", "1,000 candles", "at least 1,296 candles"),
        (damaged_candles, "data of ETH-USD", "cannot be read as parquet", "Correct data.source"),
        (small_disk, "volume", "2 GB of disk, 1.6 GB to read", "volume_gb to 5"),
        (little_money_for_a_run, "costs", "at most 11.00 USD for 3 jobs", "budget_per_run_usd"),
        (little_money_for_the_month, "costs", "at most 11.00 USD for 3 jobs", "budget_per_month_usd"),
        (no_price_for_the_budget, "costs", "no budget can be kept", "pricing:GetProducts"),
        (limit_below_what_jobs_take, "time limit", "SOL-USD usually takes 3,700 s", "max_runtime_seconds"),
    ],
)  # fmt: skip
def test_one_thing_wrong_is_the_one_thing_that_fails(
    desk: Desk, spoil: Callable[[Desk], None], check: str, fact: str, remedy: str
) -> None:
    spoil(desk)
    found = desk.ask()
    assert names(found) == CHECKS, "every other check was asked, too"
    assert [each.subject for each in found.failed] == [check], told(found.findings)
    assert fact in found.failed[0].fact
    assert remedy in found.failed[0].remedy
    with pytest.raises(PreflightError, match="1 of 23 checks failed; no job was submitted and nothing was billed"):
        found.refuse()


def test_everything_wrong_is_told_at_once(desk: Desk) -> None:
    """As an operator would have it who starts anew: one table, not one failed job a fault."""
    for spoil in (old_image, role_for_lambda, no_candles, no_writing, little_money_for_a_run, role_not_to_be_passed):
        spoil(desk)
    desk.settings["training.sagemaker.image"] = "pytorch-2.8-cpu"
    desk.settings["training.sagemaker.instance_type"] = "ml.g5.huge"
    found = desk.ask()
    assert names(found) == CHECKS
    assert [each.subject for each in found.failed] == [
        "image",
        "image support",
        "instance",
        "data of ETH-USD",
        "role",
        "pass role",
        "bucket",
        "costs",
    ], told(found.findings)
    assert all(each.remedy for each in found.findings if each.answer != "pass")
    unknown = {each.check: each.fact for each in found.findings if each.answer == "unknown"}
    assert set(unknown) == {"torch", "gpu", "quota"}
    assert "torch 2.8.0, this machine 2.13.0" in unknown["torch"]


@pytest.mark.parametrize(
    ("action", "check"),
    [
        ("ecr:BatchGetImage", "image"),
        ("servicequotas:ListServiceQuotas", "quota"),
        ("iam:GetRole", "role"),
        ("iam:SimulatePrincipalPolicy", "role rights"),
        ("sagemaker:ListTrainingJobs", "job name"),
    ],
)
def test_question_that_the_caller_may_not_ask_is_unknown(desk: Desk, action: str, check: str) -> None:
    desk.cloud.deny(action, principal="caller")
    found = desk.ask()
    assert names(found) == CHECKS
    assert found.failed == (), told(found.findings)
    unknown = next(each for each in found.findings if each.check == check)
    name = action.partition(":")[2]
    assert (unknown.answer, f"{name} is denied" in unknown.fact) == ("unknown", True), told(found.findings)
    assert unknown.remedy.startswith(f"Allow {name}")


def test_image_that_is_gone_is_not_its_own_remedy(desk: Desk) -> None:
    """AWS took an image away that the table still has; another that the table has may be there."""
    gone = f"{DLC_ACCOUNT}.dkr.ecr.eu-central-1.amazonaws.com/pytorch:2.14-cu133-amzn2023-sagemaker"
    desk.settings["training.sagemaker.image"] = gone
    (image,) = [each for each in desk.ask().failed if each.check == "image"]
    assert gone in image.fact
    assert "2.14" not in image.remedy
    assert f"pytorch-2.13-gpu (pytorch:{TAG})" in image.remedy
    assert "-cpu" not in image.remedy, "the machine has a GPU"


def test_price_that_nobody_says_is_no_guess(desk: Desk) -> None:
    """Without a budget the costs are unknown; the table's price is of another region."""
    no_price_for_the_budget(desk)
    desk.settings |= {f"training.sagemaker.budget_per_{what}_usd": "null" for what in ("run", "month")}
    found = desk.ask()
    costs = next(each for each in found.findings if each.check == "costs")
    assert (costs.answer, "not in the table" in costs.fact) == ("unknown", True)


def test_todays_price_is_asked_for_once(desk: Desk) -> None:
    desk.ask()
    no_price_for_the_budget(desk)
    desk.ask().refuse()
    assert desk.cloud.requests()["pricing:GetProducts"] == 1
    desk.arguments["now"] = NOW + timedelta(days=1)
    costs = next(each for each in desk.ask().findings if each.check == "costs")
    assert "1.76 USD/h as of 2026-11-20 (AWS Pricing API, kept)" in costs.fact


def test_candles_in_a_bucket_are_counted_by_the_end_of_their_files(desk: Desk) -> None:
    desk.settings |= {"data.source": "s3", "data.path": "null", "data.uri": f"s3://{desk.bucket}/candles"}
    s3 = desk.cloud.client("s3")
    for symbol, rows in (("BTC-USD", 1_400), ("ETH-USD", 1_200)):
        desk.write_candles(symbol, rows)
        s3.upload_file(str(desk.candles / f"{symbol}.parquet"), desk.bucket, f"candles/{symbol}.parquet")
    found = desk.ask()
    assert [each.subject for each in found.failed] == ["data of ETH-USD", "data of SOL-USD"], told(found.findings)
    assert f"1,200 candles in s3://{desk.bucket}/candles/ETH-USD.parquet, 83.3%" in found.failed[0].fact
    assert "there is no such object" in found.failed[1].fact


def test_end_of_a_big_object_is_read_without_the_rest(desk: Desk) -> None:
    """20 MB of candles in row groups: what is fetched is a hundredth of it."""
    numbers = np.random.default_rng(1).normal(size=500_000)
    frame = pd.DataFrame(
        {name: numbers + place for place, name in enumerate(("open", "high", "low", "close", "volume"))}
    )
    path = desk.folder / "BTC-USD.parquet"
    frame.to_parquet(path)
    desk.cloud.client("s3").upload_file(str(path), desk.bucket, "candles/BTC-USD.parquet")
    fetched: list[int] = []
    aws = Aws("eu-central-1")
    aws.client("s3").meta.events.register(
        "after-call.s3.GetObject", lambda parsed, **_: fetched.append(parsed["ContentLength"])
    )
    settings = ("data.source=s3", f"data.uri=s3://{desk.bucket}/candles", "data.days=340", "aws.region=eu-central-1")
    finding = data_finding(load_config(None, settings), "BTC-USD", home=desk.folder, aws=aws)
    assert finding.answer == "pass", finding
    assert "500,000 candles" in finding.fact
    assert 0 < sum(fetched) < path.stat().st_size / 100


def test_without_credentials_what_needs_none_is_still_answered(desk: Desk) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        desk.monkeypatch.delenv(name)
    no_candles(desk)
    desk.arguments["aws"] = Aws("eu-central-1", attempts=1)
    found = desk.ask()
    assert names(found) == CHECKS
    assert [each.subject for each in found.failed] == ["credentials", "data of ETH-USD"], told(found.findings)
    assert "Unable to locate credentials" in found.failed[0].fact
    assert "AWS_ACCESS_KEY_ID" in found.failed[0].remedy
    unknown = {each.check: each.remedy for each in found.findings if each.answer == "unknown"}
    assert {"image", "quota", "role", "bucket", "job name"} <= set(unknown)
    assert unknown["quota"] == "See credentials."


def test_wrong_credentials_are_named(desk: Desk) -> None:
    desk.monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    desk.arguments["aws"] = Aws("eu-central-1", attempts=1)
    found = desk.ask()
    assert found.failed[0].check == "credentials", told(found.findings)
    assert "AKIAIOSFODNN7EXAMPLE" not in told(found.findings)


def test_cloud_that_is_away_is_unknown_and_the_rest_is_answered(desk: Desk) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        desk.monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    desk.arguments["aws"] = Aws("eu-central-1", attempts=1)
    found = desk.ask()
    assert names(found) == CHECKS
    assert found.failed == (), told(found.findings)
    credentials = found.findings[0]
    assert (credentials.answer, credentials.remedy) == ("unknown", "Try again later.")
    assert {each.check for each in found.findings if each.answer == "pass"} == {
        "image support",
        "torch",
        "gpu",
        "instance",
        "archive",
        "entry script",
        "data",
        "volume",
        "time limit",
    }


def test_role_that_is_not_named_is_a_matter_of_the_configuration(desk: Desk) -> None:
    config = desk.config()
    section = config.training.sagemaker.model_copy(update={"role_arn": None})
    training = config.training.model_copy(update={"sagemaker": section})
    with pytest.raises(ConfigError, match=r"training\.sagemaker\.role_arn must be set"):
        preflight(
            config.model_copy(update={"training": training}),
            home=desk.home,
            symbols=SYMBOLS,
            aws=clients_of(desk.cloud.port),
            now=NOW,
        )


def test_job_that_runs_takes_its_part_of_the_quota(desk: Desk) -> None:
    """Of three machines one is taken, so two of three symbols may run at once; a job of ours would be found again."""
    desk.job_of_others("somebodys-own-1")
    found = desk.ask()
    assert [each.check for each in found.failed] == ["quota"], told(found.findings)
    assert "is 3; 1 run now, 3 more shall run at once" in found.failed[0].fact
    assert "training.max_parallel=2" in found.failed[0].remedy
    desk.settings["training.max_parallel"] = "2"
    desk.ask().refuse()


def test_job_of_ours_that_runs_is_counted_once(desk: Desk) -> None:
    desk.job_of_others("crpbot-eth-usd-0123456789ab-1", inputs_sha256="0" * 64)
    quota = next(each for each in desk.ask().findings if each.check == "quota")
    assert (quota.answer, "1 run now, 2 more" in quota.fact) == ("pass", True), quota


def test_name_taken_by_a_stranger_is_found_before_the_job_is_made(desk: Desk) -> None:
    name, _ = desk.prepare()
    desk.ask().refuse()
    desk.job_of_others(name, inputs_sha256="0" * 64)
    found = desk.ask()
    assert [each.subject for each in found.failed] == ["job name of BTC-USD"], told(found.findings)
    assert f"{name} is taken by a job that does not train this" in found.failed[0].fact
    assert "training.seed" in found.failed[0].remedy


def test_names_like_ours_are_told_while_the_right_one_is_not_known(desk: Desk) -> None:
    desk.cloud.with_quota("ml.g5.xlarge", 9)
    desk.job_of_others("crpbot-btc-usd-0123456789ab-1")
    desk.job_of_others("crpbot-eth-usd-0123456789ab-1", inputs_sha256="0" * 64)
    found = desk.ask()
    assert found.failed == (), told(found.findings)
    answers = [each.answer for each in found.findings if each.check == "job name"]
    assert answers == ["unknown", "pass", "pass"]


def test_files_of_a_job_are_looked_at_before_it_is_submitted(desk: Desk) -> None:
    _, channel = desk.prepare()
    found = desk.ask()
    found.refuse()
    facts = {each.check: each.fact for each in found.findings}
    assert facts["inputs"] == "features 600 x 6 in float32"
    assert "to read (measured)" in facts["volume"]
    assert "is free" in facts["job name"]

    features = channel / "features.npy"
    whole = features.read_bytes()
    for damage, words in ((whole[:100], "cannot be read"), (None, "features.npy is missing")):
        features.unlink()
        if damage is not None:
            features.write_bytes(damage)
        failed = desk.ask().failed
        assert [each.subject for each in failed] == ["inputs of BTC-USD"], told(failed)
        assert words in failed[0].fact


def test_archive_without_its_entry_is_found_before_it_is_uploaded(desk: Desk) -> None:
    """What the third failed attempt was: a job that starts a script which its archive does not have."""
    desk.prepare()
    path = desk.folder / "other.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        tar.add(desk.folder / "training" / "matrix.npy", "train_model.py")
    desk.arguments["archive"] = path
    failed = desk.ask().failed
    assert [each.subject for each in failed] == ["entry script"], told(failed)
    assert "the job would run train.py, which is not in the archive" in failed[0].fact
    assert "train_model.py" in failed[0].fact


def test_region_that_an_endpoint_does_not_name_is_unknown(desk: Desk) -> None:
    """As with S3 servers other than AWS's; nothing is concluded from silence."""
    desk.cloud.use(desk.monkeypatch)
    desk.arguments["aws"] = Aws("eu-central-1", attempts=1)
    found = desk.ask()
    assert [(each.check, each.answer) for each in found.findings if each.answer != "pass"] == [("region", "unknown")]
    assert f"bucket {desk.bucket} in a region that nobody names" in found.findings[1].fact
