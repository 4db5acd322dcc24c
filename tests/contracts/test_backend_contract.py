"""What every place that trains must do: begin or find, wait, collect, cancel; and the same bytes of weights everywhere."""

import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from models_lib.backends import LocalBackend, train
from models_lib.errors import DataError, StoppedError
from models_lib.files import sha256_bytes, sha256_file
from models_lib.interruption import allow_work, request_stop
from models_lib.training import EpochRecord, TrainingSpec
from models_lib.training.checkpoint import encode_weights
from models_lib.training.container import METRIC_DEFINITIONS
from models_lib.training.trainer import TrainingOutcome, train_spec
from tasks.adapters.sagemaker.archive import build_archive
from tasks.adapters.sagemaker.inputs import Code
from tests.aws.cloud import Cloud
from tests.aws.workplaces import Site, ignore, small_spec

ENDLESS = {"max_epochs": 1_000_000, "patience": 1_000_000, "gate_stop_epochs": 1_000_000}


class LocalPlace:
    """This machine."""

    def __init__(self, tmp_path: Path) -> None:
        self.before = self._workers()

    def backend(self) -> LocalBackend:
        return LocalBackend()

    def runs(self) -> bool:
        return bool(self._workers() - self.before)

    @staticmethod
    def _workers() -> set[str]:
        listed = subprocess.run(["ps", "-A", "-o", "pid=,stat=,args="], capture_output=True, text=True, check=True)
        return {
            line.split()[0] for line in listed.stdout.splitlines() if "training.worker" in line and " Z" not in line
        }


class CloudPlace:
    """SageMaker's stand-in, with the archive that a run would send and without the seconds of AWS's toolkit."""

    def __init__(self, cloud: Cloud, tmp_path: Path) -> None:
        cloud.configure(runner="direct", hidden=("prefect", "pandas", "boto3", "tensorboard"))
        self.site = Site(cloud, tmp_path)
        archive = build_archive(tmp_path / "code", device="cpu")
        self.code = Code(archive.path, archive.sha256, archive.entry, METRIC_DEFINITIONS)

    def backend(self):
        return self.site.backend(self.code)

    def runs(self) -> bool:
        return any(job.status in {"InProgress", "Stopping"} for job in self.site.cloud.jobs())


@pytest.fixture(params=["local", "sagemaker"])
def place(request, tmp_path):
    if request.param == "local":
        return LocalPlace(tmp_path)
    return CloudPlace(request.getfixturevalue("cloud"), tmp_path)


@pytest.fixture(scope="session")
def trained_here(tmp_path_factory) -> TrainingOutcome:
    """What this process makes of the small training."""
    spec = small_spec(tmp_path_factory.mktemp("here"))
    return train_spec(spec)


@pytest.fixture
def stops():
    yield
    allow_work()


def ends(place) -> bool:
    deadline, pause = time.monotonic() + 30.0, threading.Event()
    while place.runs():
        assert time.monotonic() < deadline, "it still runs"
        pause.wait(0.05)
    return True


@pytest.mark.long
def test_training_gives_the_same_bytes_everywhere_and_again(place, trained_here, tmp_path):
    spec: TrainingSpec = small_spec(tmp_path / "inputs")
    backend, told = place.backend(), []
    job = backend.submit(spec)
    assert backend.submit(spec) == job, "found, not begun again"
    backend.wait(job, on_progress=told.append)
    backend.wait(job, on_progress=ignore)
    model = backend.collect(job)
    assert [item.epoch for item in told if isinstance(item, EpochRecord)] == [1, 2, 3]
    assert model.sha256 == sha256_file(model.path) == sha256_bytes(encode_weights(trained_here.tensors))
    assert model.history.best == model.history.epochs[model.best_epoch - 1]
    assert [epoch.validation_nll for epoch in model.history.epochs] == [
        epoch.validation_nll for epoch in trained_here.history.epochs
    ]
    assert backend.collect(job) == model, "collected again"
    backend.cancel(job)
    backend.cancel(job)
    assert train(place.backend(), spec, on_progress=ignore).sha256 == model.sha256, "by another process"


@pytest.mark.long
def test_error_of_the_training_comes_back_as_its_class(place, tmp_path):
    spec = small_spec(tmp_path / "inputs")
    features = np.load(spec.features)
    features[7, 3] = np.nan
    np.save(spec.features, features)
    backend = place.backend()
    job = backend.submit(spec)
    for _ in range(2):
        with pytest.raises(DataError, match="BTC-USD"):
            backend.wait(job, on_progress=ignore)
    assert not (spec.output / "weights.safetensors").exists()


@pytest.mark.long
def test_interrupted_caller_leaves_nothing_running(place, tmp_path):
    def interrupt(_):
        raise KeyboardInterrupt

    spec = small_spec(tmp_path / "inputs", **ENDLESS)
    with pytest.raises(KeyboardInterrupt):
        train(place.backend(), spec, on_progress=interrupt)
    assert ends(place)
    assert not (spec.output / "weights.safetensors").exists()


def test_cancelled_job_ends_without_a_model(place, tmp_path):
    backend = place.backend()
    job = backend.submit(small_spec(tmp_path / "inputs", **ENDLESS))
    assert place.runs()
    backend.cancel(job)
    backend.cancel(job)
    assert ends(place)
    assert not (job.spec.output / "weights.safetensors").exists()


def test_stopped_run_begins_nothing(place, tmp_path, stops):
    request_stop()
    with pytest.raises(StoppedError):
        place.backend().submit(small_spec(tmp_path / "inputs"))
    assert ends(place)
