"""Every end of a job becomes the right error, with the container's own words, bounded and printable."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from models_lib.errors import ConfigError, DataError, TrainingError, TransientError
from tasks.adapters.sagemaker.ends import end_error, printable, told_tail
from tasks.adapters.sagemaker.state import JobState

BEGAN = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)


def ended(status, secondary=None, reason="", **more):
    return JobState.of(
        {
            "TrainingJobName": "crpbot-btc-usd-0123456789ab-1",
            "TrainingJobStatus": status,
            "SecondaryStatus": secondary or status,
            "FailureReason": reason,
            "CreationTime": BEGAN,
            **more,
        }
    )


def test_completed_job_has_no_error():
    assert end_error("BTC-USD", ended("Completed"), cost="", tail=[]) is None


@pytest.mark.parametrize(
    ("state", "kind", "words"),
    [
        (
            ended("Failed", reason="AlgorithmError: DataError: BTC-USD: 3 features are not finite., exit code: 1"),
            DataError,
            "ended with DataError: BTC-USD: 3 features are not finite. It cost",
        ),
        (ended("Failed", reason="AlgorithmError: ConfigError: no CUDA, exit code: 1"), ConfigError, "no CUDA"),
        (ended("Failed", reason="TrainingError: the loss is nan"), TrainingError, "the loss is nan"),
        (
            ended(
                "Failed", reason='AlgorithmError: ExecuteUserScriptError:\nExitCode 2\nErrorMessage "", exit code: 2'
            ),
            TrainingError,
            'failed: AlgorithmError: ExecuteUserScriptError: ExitCode 2 ErrorMessage "". Mend',
        ),
        (ended("Failed", reason="ClientError: Data download failed"), TrainingError, "Data download failed"),
        (ended("Failed", reason="InternalServerError: try again"), TransientError, "failed on AWS's side"),
        (ended("Failed", reason="CapacityError: Unable to provision"), TransientError, "CapacityError"),
        (ended("Failed"), TrainingError, "AWS gives no reason"),
        (
            ended("Failed", reason="AlgorithmError: , exit code: 1"),
            TrainingError,
            "failed: exit code 1, without a word",
        ),
        (
            ended("Failed", reason="AlgorithmError: , exit code: 137"),
            TrainingError,
            r"killed \(exit code 137\).* bigger",
        ),
        (ended("Stopped", "MaxRuntimeExceeded"), TrainingError, r"training\.sagemaker\.max_runtime_seconds"),
        (ended("Stopped", "MaxWaitTimeExceeded"), TransientError, r"training\.sagemaker\.spot=false"),
        (
            ended("Stopped", ModelArtifacts={"S3ModelArtifacts": "s3://b/model.tar.gz"}),
            TrainingError,
            "stopped by somebody",
        ),
    ],
)
def test_end_says_what_to_do(state, kind, words):
    error = end_error("BTC-USD", state, cost="It cost 0.38 USD.", tail=["a\x1b[31m line", "can't open file 'train.py'"])
    assert type(error) is kind
    message = str(error)
    assert message.startswith("BTC-USD: the SageMaker job crpbot-btc-usd-0123456789ab-1 ")
    assert re.search(words, message), message
    assert "It cost 0.38 USD." in message
    assert message.splitlines()[-1] == "  | can't open file 'train.py'"
    assert "\x1b" not in message


@pytest.mark.parametrize(
    "state",
    [
        ended("Failed", reason="InternalServerError: try again", TrainingTimeInSeconds=90, BillableTimeInSeconds=90),
        ended("Stopped", "MaxWaitTimeExceeded", TrainingTimeInSeconds=300, BillableTimeInSeconds=120),
    ],
)
def test_what_was_billed_is_not_paid_again_by_a_retry(state):
    assert type(end_error("BTC-USD", state, cost="", tail=[])) is TrainingError


def test_endless_words_of_a_container_are_bounded():
    error = end_error("BTC-USD", ended("Failed", reason="x" * 99_999), cost="", tail=["y" * 9_999] * 500)
    assert len(str(error)) < 4_000, "a notice takes so much"


def test_newest_lines_stay_when_there_are_too_many():
    told = told_tail([f"line {number} " + "z" * 150 for number in range(30)])
    assert "line 29" in told
    assert "line 10" not in told
    assert told_tail(["", "  "]) == "Its log is empty."
    assert printable("a\tb\r\n") == "a b"


def test_seconds_of_a_job_that_trains_are_counted_until_now():
    state = ended("InProgress", "Training", TrainingStartTime=BEGAN)
    assert state.billable_seconds(BEGAN + timedelta(minutes=5)) == 300
    over = ended("Failed", TrainingStartTime=BEGAN, TrainingEndTime=BEGAN + timedelta(seconds=40))
    assert over.billable_seconds(BEGAN + timedelta(days=1)) == 40
    billed = ended("Completed", TrainingTimeInSeconds=100, BillableTimeInSeconds=30)
    assert (billed.seconds(BEGAN), billed.billable_seconds(BEGAN)) == (100, 30)
    assert ended("Failed").billable_seconds(BEGAN) == 0
