"""The request of a job: complete, bounded in time, and refused here when AWS would refuse it."""

import dataclasses

import boto3
import pytest

from models_lib.config import SageMakerSection
from models_lib.errors import ConfigError
from tasks.adapters.sagemaker.request import JobOrder, check_request, training_request

ROLE = "arn:aws:iam::123456789012:role/crpbot"
ORDER = JobOrder(
    name="crpbot-btc-usd-0123456789ab-1",
    symbol="BTC-USD",
    run_id="20261121T020000Z-0a1b2c3d4e5f",
    image="763104351884.dkr.ecr.eu-central-1.amazonaws.com/pytorch:2.13-cpu-amzn2023-sagemaker",
    entry="train.py",
    archive_uri="s3://bucket/code/1.tar.gz",
    inputs_uri="s3://bucket/inputs/1",
    checkpoints_uri="s3://bucket/checkpoints/1",
    models_uri="s3://bucket/models",
    hyperparameters={"inputs_sha256": "1" * 64},
    environment={},
    metrics=(("validation:nll", r"validation_nll=([0-9.]+)"),),
)


@pytest.fixture(scope="module")
def client():
    return boto3.client("sagemaker", region_name="eu-central-1", aws_access_key_id="a", aws_secret_access_key="b")


def section(**settings):
    return SageMakerSection.model_validate({"role_arn": ROLE, **settings})


def test_request_is_one_that_aws_describes(client):
    request = training_request(ORDER, section())
    check_request(request, client)
    assert request["StoppingCondition"] == {"MaxRuntimeInSeconds": 7200}
    assert request["EnableManagedSpotTraining"] is False
    assert request["InputDataConfig"][0]["DataSource"]["S3DataSource"]["S3Uri"] == "s3://bucket/inputs/1/"
    assert {"Key": "project", "Value": "crpbot-training"} in request["Tags"]
    assert {tag["Key"]: tag["Value"] for tag in request["Tags"]}["run_id"] == ORDER.run_id


def test_spot_has_checkpoints_and_a_longest_wait(client):
    request = training_request(ORDER, section(spot=True, max_wait_seconds=9000))
    check_request(request, client)
    assert request["EnableManagedSpotTraining"] is True
    assert request["StoppingCondition"] == {"MaxRuntimeInSeconds": 7200, "MaxWaitTimeInSeconds": 9000}
    assert request["CheckpointConfig"]["S3Uri"] == "s3://bucket/checkpoints/1"


def test_missing_role_is_named():
    with pytest.raises(ConfigError, match=r"training\.sagemaker\.role_arn must be set"):
        training_request(ORDER, SageMakerSection())


@pytest.mark.parametrize(
    ("changes", "settings", "fault"),
    [
        ({"name": "btc_usd"}, {}, "TrainingJobName must match"),
        ({"name": "a" * 64}, {}, "TrainingJobName may have 63 characters, has 64"),
        ({}, {"instance_type": "ml.g5.xlargee"}, "ResourceConfig.InstanceType must be one of AWS's"),
        ({"hyperparameters": {"x": "y" * 2501}}, {}, "HyperParameters.x may have 2500 characters"),
        ({"hyperparameters": {str(n): "1" for n in range(98)}}, {}, "HyperParameters may have 100 entries, has 101"),
        ({"metrics": (("loss", "x" * 501),)}, {}, r"MetricDefinitions\[0\].Regex may have 500 characters"),
        ({"environment": {"WORDS": "w" * 513}}, {}, "Environment.WORDS may have 512 characters"),
        ({"hyperparameters": {"x": 1}}, {}, "HyperParameters.x"),
        ({"models_uri": "bucket/models"}, {}, "OutputDataConfig.S3OutputPath must match"),
    ],
)
def test_what_aws_would_refuse_is_refused_before_anything_is_sent(client, changes, settings, fault):
    request = training_request(dataclasses.replace(ORDER, **changes), section(**settings))
    with pytest.raises(ConfigError, match=fault) as caught:
        check_request(request, client)
    assert "Nothing was sent" in str(caught.value)
