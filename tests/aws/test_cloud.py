"""The stand-in of AWS keeps AWS's contract: what it refuses, how its jobs live and end, and what they leave behind.

User scripts are a few lines; those of the real toolkit take two seconds to start, so several jobs share one test.
"""

import io
import json
import tarfile
import threading
import time
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.aws.cloud import LOG_GROUP, Cloud

pytestmark = pytest.mark.long

CPU, GPU = "ml.m5.xlarge", "ml.g5.xlarge"
GOOD = """
import importlib.util, json, os, sys
print("arguments", sys.argv[1:], flush=True)
print("crpbot validation_nll=0.71 epoch=1", flush=True)
print("crpbot validation_nll=0.58 epoch=2", flush=True)
here = [name for name in ("models_lib", "pandas", "prefect", "numpy") if importlib.util.find_spec(name)]
seen = {
    "channel": open(os.path.join(os.environ["SM_CHANNEL_TRAINING"], "deep", "x.bin")).read(),
    "here": here,
    "asked": os.environ["ASKED"],
    "job": os.environ["TRAINING_JOB_NAME"],
    "config": json.load(open(os.path.join(os.environ["SM_INPUT_CONFIG_DIR"], "inputdataconfig.json"))),
}
json.dump(seen, open(os.path.join(os.environ["SM_MODEL_DIR"], "seen.json"), "w"))
open(os.path.join(os.environ["SM_OUTPUT_DATA_DIR"], "report.txt"), "w").write("said")
"""
RAISES = """
raise ValueError("NaN loss at epoch 2")
"""
WAITS = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda number, frame: print("heard SIGTERM", flush=True))
open(os.path.join(os.environ["SM_MODEL_DIR"], "partial"), "w").write("half")
print("ready", flush=True)
while True:
    time.sleep(0.1)
"""
RESUMES = """
import os, time
folder = os.path.join(os.environ["SAGEMAKER_BASE_DIR"], "checkpoints")
last = os.path.join(folder, "last")
epoch = int(open(last).read()) if os.path.exists(last) else 0
print("from epoch", epoch, flush=True)
if epoch == 0:
    for epoch in (1, 2, 3):
        open(last + ".new", "w").write(str(epoch))
        os.replace(last + ".new", last)
        time.sleep(0.3)
    time.sleep(3600)
open(os.path.join(os.environ["SM_MODEL_DIR"], "w"), "w").write(str(epoch))
"""


def archive(**files: str) -> bytes:
    """A source archive."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"{name}.py")
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
    return content.getvalue()


class Desk:
    """Somebody who asks for jobs, with everything in order."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.role = cloud.with_role()
        self.image = cloud.with_image("pytorch-training", "2.10-cpu-py313")
        self.bucket = cloud.with_bucket()
        self.sagemaker = client("sagemaker")
        cloud.client("s3").put_object(Bucket=self.bucket, Key="in/deep/x.bin", Body=b"abc")

    def request(self, name: str, script: str = GOOD, *, spot: bool = False, **changes: Any) -> dict[str, Any]:
        """A good request, or one that is changed at the top."""
        key = f"code/{name}.tar.gz"
        self.cloud.client("s3").put_object(Bucket=self.bucket, Key=key, Body=archive(train=script))
        channel = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": self.at("in/")}}
        limits = {"MaxRuntimeInSeconds": 3600}
        more: dict[str, Any] = {}
        if spot:
            limits["MaxWaitTimeInSeconds"] = 7200
            more = {"EnableManagedSpotTraining": True, "CheckpointConfig": {"S3Uri": self.at(f"checkpoints/{name}")}}
        return {
            "TrainingJobName": name,
            "RoleArn": self.role,
            "AlgorithmSpecification": {
                "TrainingImage": self.image,
                "TrainingInputMode": "File",
                "MetricDefinitions": [{"Name": "nll", "Regex": r"validation_nll=([0-9.]+)"}],
            },
            "HyperParameters": {
                "sagemaker_program": "train.py",
                "sagemaker_submit_directory": self.at(key),
                "symbol": "BTC-USD",
            },
            "InputDataConfig": [{"ChannelName": "training", "DataSource": channel}],
            "OutputDataConfig": {"S3OutputPath": self.at("out")},
            "ResourceConfig": {"InstanceType": CPU, "InstanceCount": 1, "VolumeSizeInGB": 10},
            "StoppingCondition": limits,
            "Environment": {"ASKED": "yes"},
            "Tags": [{"Key": "project", "Value": "crpbot"}],
            **more,
            **changes,
        }

    def at(self, key: str) -> str:
        """URI of a key."""
        return f"s3://{self.bucket}/{key}"

    def submit(self, name: str, script: str = GOOD, **changes: Any) -> None:
        """Creates a job."""
        self.sagemaker.create_training_job(**self.request(name, script, **changes))

    def refused(self, request: dict[str, Any]) -> str:
        """Code with which a request is refused."""
        with pytest.raises(ClientError) as caught:
            self.sagemaker.create_training_job(**request)
        return str(caught.value.response["Error"]["Code"])

    def model(self, name: str) -> dict[str, bytes]:
        """Files of the model that a job left."""
        answer = self.cloud.client("s3").get_object(Bucket=self.bucket, Key=f"out/{name}/output/model.tar.gz")
        with tarfile.open(fileobj=io.BytesIO(answer["Body"].read()), mode="r:gz") as tar:
            return {entry.name: tar.extractfile(entry).read() for entry in tar if entry.isfile()}  # type: ignore[union-attr]

    def keys(self, prefix: str) -> list[str]:
        """Keys in the bucket."""
        answer = self.cloud.client("s3").list_objects_v2(Bucket=self.bucket, Prefix=prefix)
        return [entry["Key"] for entry in answer.get("Contents", [])]


def client(service: str, **settings: Any) -> Any:
    """A client as the product makes them: everything from the environment; one attempt."""
    config = Config(retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=20)
    region = settings.pop("region", "eu-central-1")
    return boto3.session.Session(region_name=region).client(service, config=config, **settings)  # type: ignore[call-overload]


@pytest.fixture
def desk(cloud: Cloud) -> Desk:
    return Desk(cloud)


@pytest.fixture
def quick(desk: Desk) -> Desk:
    """Jobs without the toolkit."""
    desk.cloud.configure(runner="direct")
    return desk


def course(said: dict[str, Any]) -> list[str]:
    return [entry["Status"] for entry in said["SecondaryStatusTransitions"]]


def until_it_says(cloud: Cloud, job: str, line: str) -> None:
    """Waits for a line of the log."""
    deadline, pause = time.monotonic() + 60, threading.Event()
    while line not in cloud.log(job):
        assert time.monotonic() < deadline, cloud.log(job)
        pause.wait(0.05)


def test_jobs_of_the_real_toolkit_end_as_their_scripts_do(desk: Desk) -> None:
    cloud = desk.cloud
    desk.submit("good")
    desk.submit("raises", RAISES)
    missing = desk.request("missing")
    missing["HyperParameters"]["sagemaker_program"] = "absent.py"
    desk.sagemaker.create_training_job(**missing)

    said = cloud.wait("good")
    assert (said["TrainingJobStatus"], said["SecondaryStatus"]) == ("Completed", "Completed"), cloud.log("good")
    assert course(said) == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    assert said["ModelArtifacts"]["S3ModelArtifacts"] == desk.at("out/good/output/model.tar.gz")
    assert [(metric["MetricName"], metric["Value"]) for metric in said["FinalMetricDataList"]] == [
        ("nll", pytest.approx(0.58))
    ]
    assert said["CreationTime"] <= said["TrainingStartTime"] < said["TrainingEndTime"] == said["LastModifiedTime"]
    assert 1 <= said["BillableTimeInSeconds"] == said["TrainingTimeInSeconds"] <= 60
    assert said["HyperParameters"]["symbol"] == "BTC-USD"
    assert said["Environment"] == {"ASKED": "yes"}
    seen = json.loads(desk.model("good")["seen.json"])
    assert (seen["channel"], seen["asked"], seen["job"]) == ("abc", "yes", "good")
    assert seen["here"] == ["numpy"], "the image has neither this project nor what it needs elsewhere"
    assert seen["config"]["training"]["TrainingInputMode"] == "File"
    assert desk.keys("out/good/") == ["out/good/output/model.tar.gz", "out/good/output/output.tar.gz"]
    assert "arguments ['--symbol', 'BTC-USD']" in cloud.log("good")
    streams = client("logs").describe_log_streams(logGroupName=LOG_GROUP, logStreamNamePrefix="good/algo-")
    assert [stream["logStreamName"].rpartition("-")[0] for stream in streams["logStreams"]] == ["good/algo-1"]

    said = cloud.wait("raises")
    assert said["TrainingJobStatus"] == "Failed"
    assert said["FailureReason"].startswith("AlgorithmError: ExecuteUserScriptError:\nExitCode 1\n")
    assert said["FailureReason"].endswith(", exit code: 1")
    assert "ValueError: NaN loss at epoch 2" in cloud.log("raises")
    assert desk.keys("out/raises/") == []

    said = cloud.wait("missing")
    assert "ExitCode 2" in said["FailureReason"]
    assert any("can't open file" in line and "absent.py" in line for line in cloud.log("missing"))
    assert cloud.processes() == []


def test_toolkit_as_first_process_does_not_hear_that_it_is_stopped(desk: Desk) -> None:
    cloud = desk.cloud
    desk.submit("stopped", WAITS)
    until_it_says(cloud, "stopped", "ready")
    client("sagemaker").stop_training_job(TrainingJobName="stopped")
    said = cloud.wait("stopped")
    assert (said["TrainingJobStatus"], said["SecondaryStatus"]) == ("Stopped", "Stopped")
    assert course(said)[-4:] == ["Training", "Stopping", "Uploading", "Stopped"]
    assert "FailureReason" not in said
    assert "heard SIGTERM" not in cloud.log("stopped")
    assert desk.model("stopped") == {"partial": b"half"}
    assert cloud.processes() == []
    with pytest.raises(ClientError, match="is in status Stopped"):
        client("sagemaker").stop_training_job(TrainingJobName="stopped")


def test_jobs_that_end_against_their_will(quick: Desk) -> None:
    cloud = quick.cloud
    cloud.kill("killed", pattern="ready", after_lines=1)
    cloud.interrupt_spot()  # is for none of them: their instances are paid in full
    cloud.kill("orphaned", script=True, pattern="ready", after_lines=1)
    for name in ("killed", "orphaned"):
        quick.submit(name, WAITS)
    cloud.configure(seconds_per_second=600.0, grace_seconds=0.2)
    quick.submit("slow", WAITS, StoppingCondition={"MaxRuntimeInSeconds": 600})

    said = cloud.wait("killed")
    assert (said["TrainingJobStatus"], said["FailureReason"]) == ("Failed", "AlgorithmError: , exit code: 137")
    said = cloud.wait("orphaned")
    assert said["FailureReason"].startswith("AlgorithmError: ExecuteUserScriptError:\nExitCode 137\n")
    assert said["FailureReason"].endswith(", exit code: 1")
    said = cloud.wait("slow")
    assert (said["TrainingJobStatus"], said["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")
    assert course(said)[-4:] == ["Training", "Stopping", "Uploading", "MaxRuntimeExceeded"]
    assert said["BillableTimeInSeconds"] >= 600
    assert quick.model("slow") == {"partial": b"half"}
    assert cloud.processes() == []


def test_spot_job_goes_on_from_its_checkpoint(quick: Desk) -> None:
    interrupted_once(quick)


def test_spot_job_of_the_real_toolkit_goes_on_from_its_checkpoint(desk: Desk) -> None:
    interrupted_once(desk)


def interrupted_once(desk: Desk) -> None:
    cloud = desk.cloud
    cloud.with_quota(CPU, 1, spot=True)
    cloud.interrupt_spot("spot*", after_checkpoints=2)
    cloud.configure(delays={"Interrupted": 0.1}, seconds_per_second=100.0)
    desk.submit("spot-1", RESUMES, spot=True)
    said = cloud.wait("spot-1")
    assert said["TrainingJobStatus"] == "Completed", said
    again = ["Interrupted", "Starting", "Downloading", "Training", "Uploading", "Completed"]
    assert course(said) == ["Starting", "Downloading", "Training", *again]
    first, second = [line for line in cloud.log("spot-1") if line.startswith("from epoch")]
    assert first == "from epoch 0"
    assert desk.model("spot-1")["w"].decode() == second.removeprefix("from epoch ") >= "2"
    assert "checkpoints/spot-1/last" in desk.keys("checkpoints/")
    assert said["BillableTimeInSeconds"] < said["TrainingTimeInSeconds"]
    assert {job.name: job.spot for job in cloud.jobs()} == {"spot-1": True}


def test_spot_job_that_gets_no_instance_again_ends(quick: Desk) -> None:
    cloud = quick.cloud
    cloud.configure(delays={"Interrupted": 60.0}, seconds_per_second=7200.0)
    cloud.interrupt_spot(pattern="ready", after_lines=1)
    limits = {"MaxRuntimeInSeconds": 7200, "MaxWaitTimeInSeconds": 7200}
    quick.submit("waits", WAITS, spot=True, StoppingCondition=limits)
    said = cloud.wait("waits")
    assert (said["TrainingJobStatus"], said["SecondaryStatus"]) == ("Stopped", "MaxWaitTimeExceeded")
    assert "ModelArtifacts" not in said


def test_what_aws_refuses_is_refused_and_nothing_is_billed(desk: Desk) -> None:
    cloud, base = desk.cloud, desk.request("base")
    cloud.with_role("somebody", trust="ec2.amazonaws.com")
    cloud.with_image("own", "1", registry=cloud.account)
    role, registry = f"arn:aws:iam::{cloud.account}:role", f"{cloud.account}.dkr.ecr.eu-central-1.amazonaws.com"

    def image(uri: str) -> dict[str, Any]:
        return {"AlgorithmSpecification": base["AlgorithmSpecification"] | {"TrainingImage": uri}}

    def machine(**changes: Any) -> dict[str, Any]:
        return {"ResourceConfig": base["ResourceConfig"] | changes}

    spot = {"EnableManagedSpotTraining": True}
    waits = {"StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 120}}
    refusals: list[tuple[dict[str, Any], str, str]] = [
        ({"TrainingJobName": "BTC/USDT"}, "ValidationException", "regular expression pattern"),
        ({"TrainingJobName": "a" * 64}, "ValidationException", "less than or equal to 63"),
        (machine(InstanceType="ml.g5.tiny"), "ValidationException", "enum value set"),
        ({"HyperParameters": {"a": "x" * 2501}}, "ValidationException", "less than or equal to 2500"),
        ({"RoleArn": f"{role}/nobody"}, "ValidationException", "Could not assume role"),
        ({"RoleArn": f"{role}/somebody"}, "ValidationException", "Could not assume role"),
        (image("pytorch:latest"), "ValidationException", "Invalid image URI"),
        (image(f"{desk.image}-cu118"), "ValidationException", "not found"),
        (image(desk.image.replace("pytorch-training", "pytorch")), "ValidationException", "Cannot find repository"),
        (image(desk.image.replace("eu-central-1", "us-east-1")), "ValidationException", "region"),
        (image(f"{registry}/own:2"), "ValidationException", "not found"),
        (machine(InstanceType=GPU), "ResourceLimitExceeded", "'ml.g5.xlarge for training job usage' is 0 Instances"),
        ({"StoppingCondition": {}}, "ValidationException", "MaxRuntimeInSeconds must be present"),
        (waits, "ValidationException", "only supported when EnableManagedSpotTraining"),
        (spot, "ValidationException", "Invalid MaxWaitTimeInSeconds"),
        (spot | waits, "ValidationException", "CheckpointConfig"),
        ({"VpcConfig": {"SecurityGroupIds": ["sg-1"], "Subnets": ["s-1"]}}, "NotImplemented", "cannot do: VpcConfig"),
        (machine(InstanceCount=2), "NotImplemented", "more than one instance"),
    ]
    for change, code, words in refusals:
        with pytest.raises(ClientError, match=words) as caught:
            desk.sagemaker.create_training_job(**base | change)
        assert caught.value.response["Error"]["Code"] == code, change

    cloud.deny("iam:PassRole", principal="caller")
    assert desk.refused(base) == "AccessDeniedException"
    assert cloud.jobs() == []
    assert cloud.requests()["sagemaker:CreateTrainingJob"] == len(refusals) + 1
    with pytest.raises(ClientError, match="Requested resource not found"):
        desk.sagemaker.describe_training_job(TrainingJobName="base")


def test_running_jobs_count_against_the_quota_and_names_are_unique(quick: Desk) -> None:
    cloud = quick.cloud
    cloud.with_quota(CPU, 1)
    cloud.configure(delays={"Starting": 60.0})
    quick.submit("first")
    assert quick.refused(quick.request("second")) == "ResourceLimitExceeded"
    assert quick.refused(quick.request("first")) == "ResourceInUse"
    quick.sagemaker.stop_training_job(TrainingJobName="first")
    said = cloud.wait("first")
    assert course(said) == ["Starting", "Stopped"]
    assert "BillableTimeInSeconds" not in said
    cloud.configure(delays={})
    quick.submit("second")
    cloud.wait("second")
    listed = quick.sagemaker.list_training_jobs(SortBy="Name", SortOrder="Ascending", MaxResults=1)
    assert [job["TrainingJobName"] for job in listed["TrainingJobSummaries"]] == ["first"]
    listed = quick.sagemaker.list_training_jobs(NextToken=listed["NextToken"], SortBy="Name", SortOrder="Ascending")
    assert [job["TrainingJobStatus"] for job in listed["TrainingJobSummaries"]] == ["Completed"]
    tags = quick.sagemaker.list_tags(ResourceArn=said["TrainingJobArn"])["Tags"]
    assert tags == [{"Key": "project", "Value": "crpbot"}]
    assert [(job.name, job.billable_seconds > 0) for job in cloud.jobs()] == [("first", False), ("second", True)]


def test_data_that_cannot_be_read_fails_the_job(quick: Desk) -> None:
    cloud = quick.cloud
    for name, uri in (("empty", quick.at("nothing/")), ("absent", "s3://crpbot-not-there/in/")):
        request = quick.request(name)
        request["InputDataConfig"][0]["DataSource"]["S3DataSource"]["S3Uri"] = uri
        quick.sagemaker.create_training_job(**request)
    far = cloud.with_bucket(region="us-east-1")
    request = quick.request("far")
    request["InputDataConfig"][0]["DataSource"]["S3DataSource"]["S3Uri"] = f"s3://{far}/in/"
    quick.sagemaker.create_training_job(**request)
    for name in ("empty", "absent"):
        assert cloud.wait(name)["FailureReason"].startswith(
            "ClientError: Data download failed: No S3 objects found under S3 URL"
        )
    assert "The bucket is in this region: us-east-1" in cloud.wait("far")["FailureReason"]
    cloud.deny("s3:GetObject", principal="crpbot-training")
    quick.submit("denied")
    assert "AccessDenied (403)" in cloud.wait("denied")["FailureReason"]
    cloud.allow("s3:GetObject", principal="crpbot-training")
    cloud.deny("s3:PutObject", principal="crpbot-training")
    quick.submit("mute")
    assert "Artifact upload failed" in cloud.wait("mute")["FailureReason"]


def test_log_comes_late_when_told_to(quick: Desk) -> None:
    cloud = quick.cloud
    cloud.configure(logs_late_seconds=3600.0)
    quick.submit("mute")
    assert cloud.wait("mute")["TrainingJobStatus"] == "Completed"
    with pytest.raises(ClientError) as caught:
        client("logs").describe_log_streams(logGroupName=LOG_GROUP, logStreamNamePrefix="mute/")
    assert caught.value.response["Error"]["Code"] == "ResourceNotFoundException"
    cloud.configure(logs_late_seconds=0.5)
    quick.submit("late")
    until_it_says(cloud, "late", "crpbot validation_nll=0.58 epoch=2")


def test_quotas_prices_and_policies_are_answered(cloud: Cloud) -> None:
    role = cloud.with_role()
    cloud.with_quota(GPU, 2)
    cloud.with_quota(GPU, None, spot=True)
    cloud.with_price(GPU, 1.408)
    quotas = client("service-quotas")

    def listed(operation: str) -> dict[str, dict[str, Any]]:
        pages = quotas.get_paginator(operation).paginate(ServiceCode="sagemaker")
        return {quota["QuotaName"]: quota for page in pages for quota in page["Quotas"]}

    applied, defaults = listed("list_service_quotas"), listed("list_aws_default_service_quotas")
    assert len(defaults) == len(applied) + 1 > 400, "several pages"
    name, of_spot = f"{GPU} for training job usage", f"{GPU} for spot training job usage"
    assert (applied[name]["Value"], defaults[name]["Value"], defaults[of_spot]["Value"]) == (2.0, 0.0, 0.0)
    assert of_spot not in applied
    code = applied[name]["QuotaCode"]
    assert quotas.get_service_quota(ServiceCode="sagemaker", QuotaCode=code)["Quota"]["Value"] == 2.0

    filters = {"instanceName": GPU, "regionCode": "eu-central-1", "component": "Training"}
    products = client("pricing", region="us-east-1").get_products(
        ServiceCode="AmazonSageMaker",
        Filters=[{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in filters.items()],
    )
    (product,) = map(json.loads, products["PriceList"])
    (term,) = product["terms"]["OnDemand"].values()
    (dimension,) = term["priceDimensions"].values()
    assert (dimension["unit"], float(dimension["pricePerUnit"]["USD"])) == ("Hrs", 1.408)

    cloud.deny("s3:Put*", principal="crpbot-training")
    results = client("iam").simulate_principal_policy(
        PolicySourceArn=role, ActionNames=["s3:GetObject", "s3:PutObject"], ResourceArns=["arn:aws:s3:::b/*"]
    )["EvaluationResults"]
    assert [(result["EvalActionName"], result["EvalDecision"]) for result in results] == [
        ("s3:GetObject", "allowed"),
        ("s3:PutObject", "implicitDeny"),
    ]
    with pytest.raises(ClientError) as caught:
        client("iam").simulate_principal_policy(PolicySourceArn=f"{role}x", ActionNames=["s3:GetObject"])
    assert caught.value.response["Error"]["Code"] == "NoSuchEntity"


def test_moto_answers_the_rest_and_faults_come_as_ordered(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    assert client("sts").get_caller_identity()["Account"] == cloud.account
    cloud.with_image("pytorch-training", "2.10-cpu-py313")
    ecr = client("ecr")
    wanted = [{"imageTag": "2.10-cpu-py313"}, {"imageTag": "2.0-gpu-cu118"}]
    found = ecr.batch_get_image(registryId="763104351884", repositoryName="pytorch-training", imageIds=wanted)
    assert [image["imageId"]["imageTag"] for image in found["images"]] == ["2.10-cpu-py313"]
    assert [failure["failureCode"] for failure in found["failures"]] == ["ImageNotFound"]
    with pytest.raises(ClientError) as caught:
        ecr.batch_get_image(repositoryName="pytorch-training", imageIds=wanted)
    assert caught.value.response["Error"]["Code"] == "RepositoryNotFoundException", "not in the caller's own registry"

    cloud.fail("sts:GetCallerIdentity", "ServiceUnavailable", status=503, times=2)
    cloud.deny("servicequotas:*")
    for service, call, arguments, code in (
        ("sts", "get_caller_identity", {}, "ServiceUnavailable"),
        ("sts", "get_caller_identity", {}, "ServiceUnavailable"),
        ("service-quotas", "list_service_quotas", {"ServiceCode": "sagemaker"}, "AccessDeniedException"),
    ):
        with pytest.raises(ClientError) as caught:
            getattr(client(service), call)(**arguments)
        assert caught.value.response["Error"]["Code"] == code
    client("sts").get_caller_identity()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIASOMEBODYELSE")
    with pytest.raises(ClientError) as caught:
        client("sts").get_caller_identity()
    assert caught.value.response["Error"]["Code"] == "InvalidClientTokenId"
    with pytest.raises(ClientError) as caught:
        client("sagemaker").list_training_jobs()
    assert caught.value.response["Error"]["Code"] == "UnrecognizedClientException"


def test_buckets_have_regions_and_permissions_on_the_way_through_the_cloud(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.use(monkeypatch, s3_through_cloud=True)
    here, far = cloud.with_bucket(), cloud.with_bucket(region="us-east-1")
    s3 = client("s3")
    assert [s3.head_bucket(Bucket=bucket)["BucketRegion"] for bucket in (here, far)] == ["eu-central-1", "us-east-1"]
    assert s3.get_bucket_location(Bucket=here)["LocationConstraint"] == "eu-central-1"
    etag = s3.put_object(Bucket=here, Key="a b/ö", Body=b"x" * 100_000, IfNoneMatch="*")["ETag"]
    with pytest.raises(ClientError) as caught:
        s3.put_object(Bucket=here, Key="a b/ö", Body=b"y", IfNoneMatch="*")
    assert caught.value.response["Error"]["Code"] == "PreconditionFailed"
    answer = s3.get_object(Bucket=here, Key="a b/ö")
    assert (answer["ETag"], len(answer["Body"].read())) == (etag, 100_000)
    assert [entry["Key"] for entry in s3.list_objects_v2(Bucket=here)["Contents"]] == ["a b/ö"]
    cloud.deny("s3:PutObject")
    with pytest.raises(ClientError) as caught:
        s3.put_object(Bucket=here, Key="b", Body=b"")
    assert caught.value.response["Error"]["Code"] == "AccessDenied"
    assert cloud.requests()["s3:PutObject"] == 3
    with pytest.raises(ClientError) as caught:
        s3.head_bucket(Bucket="crpbot-not-there")
    assert caught.value.response["Error"]["Code"] == "404"


def test_reset_leaves_no_process_and_remembers_nothing(quick: Desk) -> None:
    cloud = quick.cloud
    quick.submit("waits", WAITS)
    until_it_says(cloud, "waits", "ready")
    assert cloud.processes() != []
    cloud.reset()
    assert (cloud.processes(), cloud.jobs(), cloud.requests(), cloud.log("waits")) == ([], [], {}, [])
    with pytest.raises(ClientError):
        client("iam").get_role(RoleName="crpbot-training")
