"""The SageMaker backend against the stand-in of AWS: found again, never paid twice, and every end in its right words.

The programs are the tests' own and run without the toolkit; the real one is in test_backend_contract.py.
"""

import json
import logging
import re
import threading
import time

import pytest

from models_lib.backends import Job, LocalBackend, train
from models_lib.errors import ConfigError, DataError, PreflightError, StoppedError, TrainingError, TransientError
from models_lib.interruption import allow_work, request_stop
from models_lib.steps.outcome import failed_outcome
from models_lib.training import EpochRecord
from models_lib.training.container import METRIC_DEFINITIONS
from tasks.adapters.sagemaker.alarm import ALARM, METRIC, NAMESPACE
from tasks.adapters.sagemaker.archive import build_archive
from tasks.adapters.sagemaker.backend import SageMakerBackend
from tasks.adapters.sagemaker.inputs import Code
from tasks.adapters.sagemaker.jobs import Jobs
from tasks.adapters.sagemaker.names import job_identity, job_name
from tasks.adapters.sagemaker.request import JobOrder, training_request
from tests.aws.workplaces import PRICE, TOPIC, Site, ignore, program, small_spec

WAITS = "import time; print('waiting', flush=True); time.sleep(600)"
FAILS = """
    import os, pathlib, sys
    print('epoch 1 was well', flush=True)
    print('the last words', flush=True)
    output = pathlib.Path(os.environ['SM_OUTPUT_DATA_DIR']).parent
    (output / 'failure').write_text('DataError: BTC-USD: 3 features are not finite. Fetch them again.')
    sys.exit(1)
"""
EMPTY = "import pathlib, os; (pathlib.Path(os.environ['SM_MODEL_DIR']) / 'x').write_text('nothing of ours')"


@pytest.fixture
def site(cloud, tmp_path):
    cloud.configure(runner="direct")
    return Site(cloud, tmp_path)


@pytest.fixture
def spec(tmp_path):
    return small_spec(tmp_path / "inputs")


@pytest.fixture
def stops():
    """Whatever a test stops, the next one may work."""
    yield
    allow_work()


def wait_training(site, job):
    site.cloud.wait(job.name, until=["Training"])


def test_running_job_is_taken_over_and_not_paid_twice(site, spec, tmp_path):
    code = program(tmp_path / "code", WAITS)
    first = site.backend(code).submit(spec)
    assert re.fullmatch(r"crpbot-btc-usd-[0-9a-f]{12}-1", first.name)
    assert site.backend(code, run_id="another run").submit(spec) == first
    assert [job.name for job in site.cloud.jobs()] == [first.name]
    assert site.checked == ["BTC-USD"], "what runs needs no check"
    assert [(job.job, job.outcome) for job in site.ledger.jobs()] == [(first.name, None)]
    assert not (spec.output / "channel").exists()
    said = site.cloud.client("sagemaker").list_tags(
        ResourceArn=site.cloud.wait(first.name, until=["InProgress"])["TrainingJobArn"]
    )
    assert {tag["Key"]: tag["Value"] for tag in said["Tags"]}["project"] == "crpbot-training"


def test_failure_has_the_containers_words_and_is_settled(site, spec, tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="models_lib")
    site.cloud.configure(logs_late_seconds=1.0)
    code = program(tmp_path / "code", FAILS)
    backend = site.backend(code)
    with pytest.raises(DataError) as caught:
        train(backend, spec, on_progress=ignore)
    message = str(caught.value)
    assert re.match(r"BTC-USD: the SageMaker job crpbot-btc-usd-[0-9a-f]{12}-1 ended with DataError", message)
    assert "3 features are not finite" in message
    assert message.splitlines()[-1] == "  | the last words"
    job = site.ledger.jobs()[0]
    assert job.outcome == "failed"
    assert job.billable_seconds == site.cloud.jobs()[0].billable_seconds > 0
    assert f"It cost {job.billable_seconds * PRICE.usd_per_hour / 3600:.2f} USD" in message
    told = [record.getMessage() for record in caplog.records if getattr(record, "symbol", None) == "BTC-USD"]
    assert "epoch 1 was well" in told
    assert any("is Training" in line for line in told)


def test_failed_attempt_is_followed_by_another(site, spec, tmp_path):
    code = program(tmp_path / "code", FAILS)
    for attempt in (1, 2):
        with pytest.raises(DataError, match=rf"-{attempt} ended with"):
            train(site.backend(code), spec, on_progress=ignore)
    assert site.outcomes() == ["failed", "failed"]


def test_failure_that_nobody_saw_is_told_before_its_run_pays_again(site, spec, tmp_path):
    code = program(tmp_path / "code", FAILS)
    job = site.backend(code).submit(spec)
    site.cloud.wait(job.name)
    with pytest.raises(DataError, match=r"-1 ended with DataError: BTC-USD: 3 features are not finite") as caught:
        site.backend(code).submit(spec)  # as a retry after AWS did not answer does
    assert str(caught.value).splitlines()[-1] == "  | the last words"
    assert [each.name for each in site.cloud.jobs()] == [job.name]
    assert site.outcomes() == ["failed"]


def test_failure_that_nobody_saw_is_told_by_the_next_run(site, spec, tmp_path, caplog):
    code = program(tmp_path / "code", FAILS)
    site.cloud.wait(site.backend(code).submit(spec).name)
    assert site.backend(code, run_id="another run").submit(spec).name.endswith("-2")
    (told,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "-1 ended with DataError: BTC-USD: 3 features are not finite" in told


def test_name_in_another_account_does_not_take_the_ledgers_line_twice(site, spec, tmp_path):
    code = program(tmp_path / "code", FAILS)
    with pytest.raises(DataError):
        train(site.backend(code), spec, on_progress=ignore)
    uri = site.section.uri
    site.cloud.reset()  # nothing is known of the job any more
    there = Site(site.cloud, tmp_path)
    there.section = there.section.model_copy(update={"uri": uri})
    assert there.backend(code).submit(spec).name.endswith("-2")
    assert there.outcomes() == ["failed", None]


def test_stop_ends_the_wait_at_once_and_the_job_soon(site, spec, tmp_path, stops):
    site.section = site.section.model_copy(update={"poll_seconds": 30.0})
    backend = site.backend(program(tmp_path / "code", WAITS))
    job = backend.submit(spec)
    wait_training(site, job)
    asked, stopped_at, pause = {}, [], threading.Event()

    def stop():
        """As soon as the first look is over: nothing is asked then, until the next one."""
        while (now := site.cloud.requests()) != asked or not any(name.startswith("logs:") for name in asked):
            asked.clear()
            asked.update(now)
            pause.wait(0.5)
        stopped_at.append(time.monotonic())
        request_stop()

    stopper = threading.Thread(target=stop)
    stopper.start()
    with pytest.raises(StoppedError, match=r"is told to stop\. It has cost 0\.00 USD .* at most 0\.75 USD") as caught:
        train(backend, spec, on_progress=ignore)
    assert time.monotonic() - stopped_at[0] < 15.0, "and not after the 30 seconds between two looks"
    stopper.join()
    came = {name: count - asked.get(name, 0) for name, count in site.cloud.requests().items()}
    more = {name: count for name, count in came.items() if count}
    assert more == {"sagemaker:StopTrainingJob": 1}, "an interrupted process has seconds: nothing else is asked before"
    assert not getattr(caught.value, "__notes__", [])
    assert site.cloud.wait(job.name)["TrainingJobStatus"] == "Stopped"
    allow_work()
    again = site.backend(program(tmp_path / "code", WAITS), run_id="the next run").submit(spec)
    assert again.name.endswith("-2")
    assert site.outcomes() == ["stopped", None]
    backend.cancel(again)


def test_job_that_could_not_be_stopped_is_no_secret(site, spec, tmp_path, stops, caplog):
    """The right to stop jobs was taken away meanwhile, or the credentials have expired."""
    backend = site.backend(program(tmp_path / "code", WAITS))
    job = backend.submit(spec)
    wait_training(site, job)
    site.cloud.deny("sagemaker:StopTrainingJob", principal="caller")
    timer = threading.Timer(0.5, request_stop)
    timer.start()
    with pytest.raises(StoppedError) as caught:
        train(backend, spec, on_progress=ignore)
    fact = f"the SageMaker job {job.name} could not be told to stop and may still run"
    assert fact in caplog.text
    assert fact in failed_outcome("BTC-USD", caught.value).reason


def test_stopped_run_submits_nothing(site, spec, tmp_path, stops):
    request_stop()
    with pytest.raises(StoppedError):
        site.backend(program(tmp_path / "code", WAITS)).submit(spec)
    assert not site.cloud.jobs()
    assert not site.ledger.jobs()


def test_job_stopped_by_a_person_is_no_success(site, spec, tmp_path):
    backend = site.backend(program(tmp_path / "code", WAITS))
    job = backend.submit(spec)
    wait_training(site, job)
    site.cloud.client("sagemaker").stop_training_job(TrainingJobName=job.name)
    with pytest.raises(TrainingError, match="was stopped by somebody before it was done") as caught:
        backend.wait(job, on_progress=ignore)
    assert "  | waiting" in str(caught.value)
    assert site.outcomes() == ["stopped"]


def test_time_limit_names_its_setting(cloud, spec, tmp_path):
    cloud.configure(runner="direct", seconds_per_second=120.0)
    site = Site(cloud, tmp_path, max_runtime_seconds=60)
    with pytest.raises(TrainingError, match=r"time limit \(training\.sagemaker\.max_runtime_seconds\)"):
        train(site.backend(program(tmp_path / "code", WAITS)), spec, on_progress=ignore)
    assert site.outcomes() == ["stopped"]


def test_cancelling_what_is_over_or_unknown_does_nothing(site, spec, tmp_path):
    code = program(tmp_path / "code", FAILS)
    backend = site.backend(code)
    job = backend.submit(spec)
    site.cloud.wait(job.name)
    backend.cancel(job)
    backend.cancel(Job("crpbot-nobody-1", spec))
    assert [(seen.name, seen.status) for seen in site.cloud.jobs()] == [(job.name, "Failed")]


def test_foreign_model_is_refused_and_the_next_attempt_is_another_job(site, spec, tmp_path):
    code = program(tmp_path / "code", EMPTY)
    with pytest.raises(TrainingError, match=r"holds what no training of this project writes: \S*x \(a file\)"):
        train(site.backend(code), spec, on_progress=ignore)
    assert site.outcomes() == ["completed"]
    assert not list(spec.output.iterdir())
    assert site.backend(code).submit(spec).name.endswith("-2")


def test_name_of_somebody_elses_job_is_an_error(site, spec, tmp_path):
    code = program(tmp_path / "code", WAITS)
    place = site.workplace(code)

    def foreign(_, inputs):
        """Somebody takes the name while we look."""
        identity = job_identity(
            inputs_sha256=inputs.sha256,
            image=site.image.uri,
            archive_sha256=code.sha256,
            instance_type=site.section.instance_type,
            device="cpu",
        )
        order = JobOrder(
            name=job_name("BTC-USD", identity, 1),
            symbol="BTC-USD",
            run_id="theirs",
            image=site.image.uri,
            entry="train.py",
            archive_uri=f"{site.section.uri}/theirs.tar.gz",
            inputs_uri=f"{site.section.uri}/theirs",
            checkpoints_uri=f"{site.section.uri}/checkpoints",
            models_uri=f"{site.section.uri}/models",
            hyperparameters={"inputs_sha256": "f" * 64},
            environment={},
            metrics=(),
        )
        assert Jobs(place.aws).create(training_request(order, site.section))

    with pytest.raises(ConfigError, match=r"crpbot-btc-usd-[0-9a-f]{12}-1 that trains something else \(inputs ffff"):
        site.backend(code, check=foreign).submit(spec)
    assert len(site.cloud.jobs()) == 1
    assert not site.ledger.jobs(), "whoever made it pays for it"


def test_two_at_once_share_one_job(site, spec, tmp_path):
    code = program(tmp_path / "code", WAITS)
    theirs = []
    job = site.backend(code, check=lambda *_: theirs.append(site.backend(code).submit(spec))).submit(spec)
    assert theirs == [job]
    assert [each.name for each in site.cloud.jobs()] == [job.name]


def test_refusal_for_a_job_that_is_there_keeps_its_ceiling(site, spec, tmp_path):
    """Its answer was lost, and it holds the quota for which the next order is refused."""
    code = program(tmp_path / "code", WAITS)
    place = site.workplace(code)
    created = []

    def create_first(self, request):
        created.append(create(self, request))
        raise ConfigError("the quota of the account does not allow it now")

    create = Jobs.create
    backend = SageMakerBackend(place)
    backend._jobs.create = create_first.__get__(backend._jobs)
    job = backend.submit(spec)
    assert created == [True]
    assert site.outcomes() == [None]
    backend.cancel(job)


def test_lost_answer_keeps_the_ceiling_and_the_name(site, spec, tmp_path):
    code = program(tmp_path / "code", WAITS)
    site.cloud.fail("sagemaker:CreateTrainingJob", "InternalFailure", status=500, times=100)
    with pytest.raises(TransientError, match="InternalFailure"):
        site.backend(code).submit(spec)
    assert site.outcomes() == [None], "AWS may have created it"
    site.cloud.fail("sagemaker:CreateTrainingJob", times=0)
    assert site.backend(code).submit(spec).name.endswith("-1")
    assert site.outcomes() == [None]


def test_what_ended_while_nobody_looked_is_settled_by_the_next_run(site, spec, tmp_path):
    code = program(tmp_path / "code", WAITS)
    backend = site.backend(code)
    job = backend.submit(spec)
    backend.cancel(job)
    site.cloud.wait(job.name)
    site.backend(code, run_id="the next run").submit(small_spec(tmp_path / "other", seed=12))
    assert site.outcomes() == ["stopped", None]


@pytest.mark.long
def test_spot_machine_taken_back_changes_neither_bytes_nor_epochs(cloud, spec, tmp_path):
    cloud.configure(runner="direct", hidden=("prefect", "pandas", "boto3", "tensorboard"))
    site, told = Site(cloud, tmp_path, spot=True), []
    archive = build_archive(tmp_path / "code", device="cpu")
    code = Code(archive.path, archive.sha256, archive.entry, METRIC_DEFINITIONS)
    cloud.interrupt_spot(after_checkpoints=1)
    model = train(site.backend(code), spec, on_progress=told.append)
    assert [item.epoch for item in told if isinstance(item, EpochRecord)] == [1, 2, 3]
    here = small_spec(tmp_path / "here")
    assert model.sha256 == train(LocalBackend(), here, on_progress=ignore).sha256
    facts = json.loads((spec.output / "job.json").read_bytes())
    statuses = [each["Status"] for each in cloud.wait(model.paid_job)["SecondaryStatusTransitions"]]
    assert "Interrupted" in statuses
    assert facts["spot"]
    assert facts["billable_seconds"] < facts["training_seconds"]
    assert facts["image_digest"].startswith("sha256:")
    assert facts["container"]["resumed_after"] >= 1
    assert facts["cost_usd"] == site.ledger.jobs()[0].cost_usd > 0


def test_failed_check_uploads_reserves_and_creates_nothing(site, spec, tmp_path):
    def refuse(*_):
        raise PreflightError("preflight: 1 of 9 checks failed")

    backend = site.backend(program(tmp_path / "code", WAITS), check=refuse)
    with pytest.raises(PreflightError):
        backend.submit(spec)
    assert not site.cloud.jobs()
    assert not site.ledger.jobs()
    assert not list(backend._place.storage.names())


def test_budget_refuses_before_anything_is_billed(cloud, spec, tmp_path):
    site = Site(cloud, tmp_path, budget_per_run_usd=0.5)
    with pytest.raises(PreflightError, match=r"at most 0\.50 allowed a run"):
        site.backend(program(tmp_path / "code", WAITS)).submit(spec)
    assert not cloud.jobs()


def test_refused_creation_gives_the_ceiling_back(site, spec, tmp_path):
    site.cloud.with_quota("ml.m5.large", 0)
    with pytest.raises(ConfigError, match="the quota of the account does not allow it"):
        site.backend(program(tmp_path / "code", WAITS)).submit(spec)
    assert not site.ledger.jobs()


def test_silence_is_borne_for_a_while_and_the_job_goes_on(site, spec, tmp_path):
    backend = site.backend(program(tmp_path / "code", WAITS), patience_seconds=0.5)
    job = backend.submit(spec)
    wait_training(site, job)
    site.cloud.fail("sagemaker:DescribeTrainingJob", times=3)
    borne, before = threading.Event(), site.cloud.requests()["sagemaker:DescribeTrainingJob"]

    def fall_silent():
        deadline = time.monotonic() + 60.0
        while time.monotonic() < deadline and not borne.wait(0.05):
            if site.cloud.requests()["sagemaker:DescribeTrainingJob"] > before + 4:
                borne.set()
        site.cloud.fail("sagemaker:DescribeTrainingJob", times=10_000)

    stopper = threading.Thread(target=fall_silent)
    stopper.start()
    with pytest.raises(TransientError, match="ThrottlingException") as caught:
        backend.wait(job, on_progress=ignore)
    assert borne.is_set(), "three silences were borne"
    assert f"{job.name} goes on, and is billed" in str(caught.value)
    assert f"aws sagemaker stop-training-job --region eu-central-1 --training-job-name {job.name}" in str(caught.value)
    stopper.join()
    site.cloud.fail("sagemaker:DescribeTrainingJob", times=0)
    assert site.cloud.wait(job.name, until=["InProgress"])["SecondaryStatus"] == "Training"
    assert site.backend(program(tmp_path / "code", WAITS)).submit(spec) == job, "whoever tries again finds it"


def test_inputs_are_uploaded_once(site, spec, tmp_path):
    first, second = program(tmp_path / "first", FAILS), program(tmp_path / "second", WAITS)
    backend = site.backend(first)
    backend.submit(spec)
    before = {head.key: head.etag for head in backend._place.storage.heads()}
    modified = {head.key: head.last_modified for head in backend._place.storage.heads()}
    assert sorted(key.split("/")[-1] for key in before if key.startswith("inputs/")) == [
        "features.npy",
        "spec.json",
        "training_inputs.safetensors",
    ]
    site.backend(second).submit(spec)
    after = {head.key: head.last_modified for head in backend._place.storage.heads() if head.key in before}
    assert after == modified


def test_failed_jobs_are_counted_for_an_alarm(cloud, spec, tmp_path):
    cloud.configure(runner="direct")
    site = Site(cloud, tmp_path, alarm_topic_arn=TOPIC)
    code = program(tmp_path / "code", FAILS)
    with pytest.raises(DataError):
        train(site.backend(code), spec, on_progress=ignore)
    watch = cloud.client("cloudwatch")
    (alarm,) = watch.describe_alarms(AlarmNames=[ALARM])["MetricAlarms"]
    assert (alarm["Namespace"], alarm["MetricName"], alarm["AlarmActions"]) == (NAMESPACE, METRIC, [TOPIC])
    assert [each["MetricName"] for each in watch.list_metrics(Namespace=NAMESPACE)["Metrics"]] == [METRIC]


def test_alarm_that_may_not_be_made_is_a_warning(cloud, tmp_path, caplog):
    site = Site(cloud, tmp_path, alarm_topic_arn=TOPIC)
    cloud.deny("cloudwatch:*")
    site.workplace(program(tmp_path / "code", FAILS)).accounts.alarm.stand()
    assert "CloudWatch alarm on failed jobs: the caller may not do PutMetricAlarm" in caplog.text


def test_log_that_may_not_be_read_is_a_warning(site, spec, tmp_path, caplog):
    site.cloud.deny("logs:*", principal="caller")
    with pytest.raises(DataError, match="Its log is empty"):
        train(site.backend(program(tmp_path / "code", FAILS)), spec, on_progress=ignore)
    assert caplog.text.count("the log of the job is not shown") == 1
