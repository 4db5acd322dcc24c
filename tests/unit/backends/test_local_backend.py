"""Training as a real process: weights, errors, kills, the time limit, and no orphan."""

import os
import select
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from models_lib.backends import LocalBackend, train
from models_lib.errors import DataError, TrainingError
from models_lib.files import sha256_file
from models_lib.scaling import fit_scaler
from models_lib.training import StepProgress, TrainingData, TrainingSpec, write_training_inputs
from models_lib.training.checkpoint import read_weights

READY = '{"event": "steps", "epoch": 1, "epochs": 1, "steps_done": 1, "steps": 2}'


@pytest.fixture
def spec(tmp_path):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(400, 6)).astype(np.float32)
    classes = np.digitize(features[:, 0], [-0.43, 0.43]).astype(np.int8)
    train, validation = np.arange(300), np.arange(310, 400)
    data = TrainingData(features, classes, train, validation, fit_scaler(features, train))
    np.save(tmp_path / "features.npy", features)
    return TrainingSpec.model_validate(
        {
            "symbol": "BTC-USD",
            "seed": 11,
            "features": tmp_path / "features.npy",
            "targets": write_training_inputs(tmp_path, data),
            "output": tmp_path / "out",
            "network": {},
            "training": {"batch_size": 64, "max_epochs": 3, "device": "cpu"},
            "gates": {},
        }
    )


def backend_running(script, **settings):
    """A backend whose worker is `script`; it gets the spec's path as sys.argv[1], like the real one."""
    return LocalBackend(worker=(sys.executable, "-c", textwrap.dedent(script)), **settings)


def ends(process_id, seconds=60.0):
    """Whether the process is gone, or goes within the time."""
    try:
        descriptor = os.pidfd_open(process_id)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], seconds)[0])
    finally:
        os.close(descriptor)


def ignore(_):
    """Progress is of no interest."""


def test_training_gives_whole_files_and_again_the_same_bytes(spec):
    told = []
    model = train(LocalBackend(), spec, on_progress=told.append)
    assert [item.epoch for item in told if not isinstance(item, StepProgress)] == [1, 2, 3]
    assert model.sha256 == sha256_file(model.path)
    assert len(model.history.epochs) == 3
    assert model.best_epoch == model.history.best_epoch
    assert read_weights(model.path)["scaler_scale"].shape == (6,)
    assert list((spec.output / "tensorboard").glob("events.out.tfevents.*"))
    assert train(LocalBackend(), spec, on_progress=ignore).sha256 == model.sha256
    assert len(list((spec.output / "tensorboard").iterdir())) == 1, "events of the earlier call are gone"


def test_error_of_the_worker_comes_back_as_its_class(spec):
    spec.targets.write_bytes(b"damaged")
    spec.output.mkdir()
    (spec.output / "weights.safetensors").write_bytes(b"of an earlier call")
    with pytest.raises(DataError, match=r"BTC-USD: .*cannot be read"):
        train(LocalBackend(), spec, on_progress=ignore)
    assert not (spec.output / "weights.safetensors").exists()


def test_killed_worker_is_named_by_its_signal(spec):
    backend = backend_running(f"""
        import os, signal
        print('{READY}', flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    with pytest.raises(TrainingError, match="BTC-USD: the training process was ended by SIGKILL"):
        train(backend, spec, on_progress=ignore)


def test_worker_that_leaves_no_reason_is_quoted(spec):
    backend = backend_running("import sys; sys.exit('the last words')")
    with pytest.raises(TrainingError, match=r"ended with status 1 and left no reason.*the last words"):
        train(backend, spec, on_progress=ignore)


def test_time_limit_ends_a_worker_that_does_not_listen(spec):
    limited = spec.model_copy(update={"training": spec.training.model_copy(update={"time_limit_minutes": 0.01})})
    backend = backend_running(
        """
        import os, pathlib, signal, sys
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        output = pathlib.Path(sys.argv[1]).parent
        (output / "worker.pid").write_text(str(os.getpid()))
        (output / "weights.safetensors").write_bytes(b"half")
        signal.pause()
        """,
        patience_seconds=0.2,
    )
    with pytest.raises(TrainingError, match=r"stopped after 0.01 minutes \(training.time_limit_minutes\)"):
        train(backend, limited, on_progress=ignore)
    assert ends(int((spec.output / "worker.pid").read_text()))
    assert not (spec.output / "weights.safetensors").exists()


def test_interrupted_caller_leaves_no_worker(spec):
    backend = backend_running(f"""
        import os, pathlib, signal, sys
        (pathlib.Path(sys.argv[1]).parent / "worker.pid").write_text(str(os.getpid()))
        print('{READY}', flush=True)
        signal.pause()
    """)

    def interrupt(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(backend, spec, on_progress=interrupt)
    assert ends(int((spec.output / "worker.pid").read_text()))


def test_worker_dies_with_a_parent_that_is_killed(spec):
    endless = spec.training.model_copy(
        update={"max_epochs": 1_000_000, "patience": 1_000_000, "gate_stop_epochs": 1_000_000}
    )
    spec_path = spec.output.parent / "endless.json"
    spec_path.write_text(spec.model_copy(update={"training": endless}).model_dump_json())
    script = """
        import os, subprocess, sys
        command = [sys.executable, "-m", "models_lib.training.worker", sys.argv[1], "--parent", str(os.getpid())]
        worker = subprocess.Popen(command, stdout=subprocess.PIPE)
        worker.stdout.readline()
        print(worker.pid, flush=True)
        worker.wait()
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(spec_path)], stdout=subprocess.PIPE, text=True
    )
    with parent:
        worker_id = int(parent.stdout.readline())
        os.kill(worker_id, 0)
        parent.send_signal(signal.SIGKILL)
    assert ends(worker_id)


def test_worker_of_a_parent_already_gone_does_not_start(spec):
    spec_path = spec.output.parent / "spec.json"
    spec_path.write_text(spec.model_dump_json())
    other = os.getppid()
    done = subprocess.run(
        [sys.executable, "-m", "models_lib.training.worker", str(spec_path), "--parent", str(other)], check=False
    )
    assert done.returncode == 1
    assert not spec.output.exists()
