"""The container's side: the same bytes as everywhere, the reason of every failure, and no library that is not there."""

import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from packaging.requirements import Requirement

from models_lib.errors import ConfigError, DataError
from models_lib.files import sha256_bytes
from models_lib.training import EpochRecord, StepProgress, TrainingHistory
from models_lib.training.channel import channel_files, inputs_sha256, pack_inputs, read_channel
from models_lib.training.checkpoint import encode_weights
from models_lib.training.container import METRIC_DEFINITIONS, failure_text, main
from models_lib.training.progress import progress_of
from models_lib.training.trainer import train_spec
from tests.small_training import ROOT, Ml, small_spec


@pytest.fixture
def spec(tmp_path):
    return small_spec(tmp_path / "spec")


@pytest.fixture
def ml(tmp_path, spec):
    return Ml(tmp_path / "ml", spec)


def trained_here(spec):
    """The outcome of a training in this process."""
    return train_spec(spec)


@pytest.mark.long
def test_container_gives_the_same_bytes_as_this_process_and_says_how(ml, spec):
    ended = ml.run()
    assert ended.returncode == 0, ended.stderr
    assert ml.weights_sha256() == sha256_bytes(encode_weights(trained_here(spec).tensors))
    assert not ml.failure.exists()
    facts = json.loads((ml.model / "training.json").read_bytes())
    assert facts["device"] == "cpu"
    assert facts["kernels"] == "fused"
    assert facts["resumed_after"] is None
    assert facts["versions"] == {
        "python": sys.version.split()[0],
        **versions("torch", "numpy", "safetensors", "pydantic", "numba"),
    }
    told = [progress for line in ended.stdout.splitlines() if (progress := progress_of(line)) is not None]
    epochs = tuple(each for each in told if isinstance(each, EpochRecord))
    assert epochs == TrainingHistory.from_json(json.loads((ml.model / "history.json").read_bytes())).epochs
    assert any(isinstance(each, StepProgress) for each in told)
    found = {name: [float(figure) for figure in re.findall(regex, ended.stdout)] for name, regex in METRIC_DEFINITIONS}
    assert found.keys() == {name for name, _ in METRIC_DEFINITIONS}
    for name, figures in found.items():
        np.testing.assert_allclose(figures, [getattr(epoch, name) for epoch in epochs], rtol=1e-7)


def versions(*names):
    return {name: importlib.metadata.version(name) for name in names}


def installed(*names):
    """These distributions and all that they need, as importlib finds them."""
    found, wanted = {}, list(names)
    while wanted:
        name = wanted.pop()
        if name not in found:
            found[name] = importlib.metadata.distribution(name)
            needed = [Requirement(each) for each in found[name].requires or ()]
            wanted += [each.name for each in needed if each.marker is None or each.marker.evaluate({"extra": ""})]
    return found.values()


@pytest.fixture(scope="module")
def four_packages(tmp_path_factory):
    """A folder in which the four libraries lie, with what they need themselves, and nothing else."""
    folder = tmp_path_factory.mktemp("site")
    for distribution in installed("torch", "numpy", "safetensors", "pydantic"):
        for name in {path.parts[0] for path in distribution.files or ()} - {"..", "bin", "__pycache__"}:
            if not (folder / name).exists():
                (folder / name).symlink_to(distribution.locate_file(name))
    return folder


def run_with(folder, ml, *arguments):
    """The entry script on an interpreter that finds nothing but what lies in `folder`, and this project's library."""
    code = ml.folder / "code"
    shutil.copytree(ROOT / "models_lib", code / "models_lib", ignore=shutil.ignore_patterns("__pycache__"))
    entry = shutil.copy(ROOT / "deployments" / "sagemaker" / "train.py", code)
    command = [sys.executable, "-S", entry, *(arguments or ml.command()[2:])]
    environ = ml.environment(PYTHONPATH=str(folder))
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)


def test_container_needs_only_the_four_libraries(ml, spec, four_packages):
    assert not (four_packages / "numba").exists()
    ended = run_with(four_packages, ml)
    assert ended.returncode == 0, ended.stderr
    assert ml.weights_sha256()
    facts = json.loads((ml.model / "training.json").read_bytes())
    assert facts["kernels"] == "torch", "without numba"
    assert "numba" not in facts["versions"]
    assert "numba is not installed: the training is slower" in ended.stderr
    history = TrainingHistory.from_json(json.loads((ml.model / "history.json").read_bytes()))
    here = trained_here(spec).history
    assert history.best.validation_nll == pytest.approx(here.best.validation_nll, abs=2e-3), "other rounding, no other"


def test_library_that_is_missing_is_told(ml, four_packages, tmp_path):
    few = tmp_path / "few"
    few.mkdir()
    for path in four_packages.iterdir():
        if not path.name.startswith("safetensors"):
            (few / path.name).symlink_to(path)
    assert run_with(few, ml).returncode == 1
    assert ml.failure.read_text().startswith("ModuleNotFoundError: No module named 'safetensors'\nFile ")


@pytest.mark.long
def test_training_that_was_killed_goes_on_from_its_checkpoint_to_the_same_bytes(tmp_path):
    spec = small_spec(tmp_path / "spec", epochs=4)
    ml = Ml(tmp_path / "ml", spec)
    arguments = ("--inputs_sha256", ml.inputs_sha256, "--device", "cpu", "--checkpoint_seconds", "0")
    environ = ml.environment(PYTHONPATH=str(ROOT))
    with subprocess.Popen(ml.command(*arguments), env=environ, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            progress = progress_of(line)
            if isinstance(progress, StepProgress) and progress.epoch == 3:
                break
        process.kill()
    assert [path.name[:12] for path in sorted(ml.checkpoints.iterdir())] == ["epoch-000001", "epoch-000002"]
    assert not ml.model.exists()
    ended = ml.run(*arguments)
    assert ended.returncode == 0, ended.stderr
    assert "the training goes on after epoch 2" in ended.stderr
    assert json.loads((ml.model / "training.json").read_bytes())["resumed_after"] == 2
    assert ml.weights_sha256() == sha256_bytes(encode_weights(trained_here(spec).tensors))


@pytest.fixture
def reason(ml, capsys):
    """What the failure file says when the entry is called with these arguments."""

    def called(*arguments):
        status = main(ml.environment(), arguments or ("--inputs_sha256", ml.inputs_sha256, "--device", "cpu"))
        assert status == 1
        assert not (ml.model / "weights.safetensors").exists()
        told = ml.failure.read_text()
        assert told.partition(":")[0] in capsys.readouterr().err, "the log has it, too"
        assert len(told) <= 1_024
        return told

    return called


def test_channel_of_another_training_is_refused(reason, spec):
    told = reason("--inputs_sha256", "0" * 64)
    sha256 = inputs_sha256(spec)[:12]
    assert told.startswith(f"DataError: the channel training is of the training {sha256}, and the job of 000000000000")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine whose GPU torch does not see")
def test_gpu_that_torch_does_not_see_is_not_paid_for_in_vain(ml):
    environ = ml.environment(SM_NUM_GPUS="1")
    assert main(environ, ("--inputs_sha256", ml.inputs_sha256, "--device", "auto")) == 1
    assert re.match(
        r"ConfigError: BTC-USD: this machine has 1 GPU, and torch \S+ of the image sees none", ml.failure.read_text()
    )
    assert main(environ, ("--inputs_sha256", ml.inputs_sha256, "--device", "cpu")) == 0, "so it was chosen"


@pytest.mark.parametrize("name", ["features.npy", "training_inputs.safetensors"])
def test_damaged_file_of_the_channel_is_refused(reason, ml, name):
    path = ml.channel / name
    content = path.read_bytes()
    path.unlink()  # the channel's file may be a link to the original
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert reason().startswith(f"DataError: {name} of the channel training is damaged: its SHA-256 is ")


@pytest.mark.parametrize("name", ["features.npy", "training_inputs.safetensors", "spec.json"])
def test_missing_file_of_the_channel_is_named(reason, ml, name):
    (ml.channel / name).unlink()
    assert reason().startswith(f"DataError: the channel training has no readable {name} (No such file or directory)")


def test_hyperparameter_that_nobody_knows_is_refused(reason, ml):
    told = reason("--inputs_sha256", ml.inputs_sha256, "--learning_rate", "1.0")
    assert told.startswith("ConfigError: the entry script does not take its hyperparameters: unrecognized arguments: ")
    assert "--learning_rate 1.0. The known ones are inputs_sha256, checkpoint_seconds, device." in told


def test_job_without_the_hyperparameter_is_refused(reason):
    assert "the following arguments are required: --inputs_sha256" in reason("--device", "cpu")


def test_error_of_the_training_comes_out_as_its_class(tmp_path, reason, ml):
    spec = small_spec(tmp_path / "other")
    features = np.load(spec.features)
    features[3, 2] = np.nan
    np.save(spec.features, features)
    told = reason("--inputs_sha256", pack_inputs(spec, ml.channel).sha256)
    assert told.startswith("DataError: 1 of 450 training rows hold NaN or infinity")


def test_recipe_that_this_code_does_not_know_is_refused(ml, reason):
    told = json.loads((ml.channel / "spec.json").read_bytes())
    told["training"]["momentum"] = 0.9
    content = json.dumps(told).encode()
    (ml.channel / "spec.json").write_bytes(content)
    said = reason("--inputs_sha256", sha256_bytes(content))
    assert said.startswith("ConfigError: spec.json: training.momentum: Extra inputs are not permitted.")


def test_reason_of_what_nobody_expected_has_class_message_and_where():
    def deep(levels):
        if levels == 0:
            raise RuntimeError("the essential " + "x" * 200)
        deep(levels - 1)

    with pytest.raises(RuntimeError) as caught:
        deep(50)
    told = failure_text(caught.value)
    assert told.startswith("RuntimeError: the essential xxx")
    assert told.splitlines()[-1].strip() == 'raise RuntimeError("the essential " + "x" * 200)'
    assert len(told) <= 1_024


def test_reason_is_cut_behind_the_essential():
    assert failure_text(DataError("a" * 2_000)) == "DataError: " + "a" * 1_013


class OutOfMemoryError(RuntimeError):
    """Named as torch names its own."""


@pytest.mark.parametrize("error", [MemoryError(), OutOfMemoryError("Tried to allocate 20.00 GiB")])
def test_lack_of_memory_is_told_with_its_remedy(error):
    told = failure_text(error)
    assert re.match(r"TrainingError: the (container|GPU) is out of memory", told)
    assert "Choose a larger training.sagemaker.instance_type" in told


def test_identity_is_that_of_what_is_trained_and_of_nothing_else(spec, tmp_path):
    other_place = small_spec(tmp_path / "elsewhere")
    where = {"backend": "sagemaker", "device": "cuda", "time_limit_minutes": 5.0, "max_parallel": 1}
    elsewhere = other_place.model_copy(update={"training": spec.training.model_copy(update=where)})
    assert channel_files(elsewhere).spec == channel_files(spec).spec
    assert str(tmp_path) not in channel_files(spec).spec.decode()
    others = [
        spec.model_copy(update={"seed": 12}),
        spec.model_copy(update={"symbol": "ETH-USD"}),
        spec.model_copy(update={"training": spec.training.model_copy(update={"learning_rate": 1e-3})}),
        spec.model_copy(update={"network": spec.network.model_copy(update={"dropout": 0.1})}),
        small_spec(tmp_path / "longer", rows=601),
    ]
    assert len({inputs_sha256(each) for each in (spec, *others)}) == 6


def test_channel_holds_the_spec_again(spec, tmp_path):
    files = pack_inputs(spec, tmp_path / "channel")
    read = read_channel(tmp_path / "channel", expected=files.sha256, device="cpu", output=spec.output)
    paths = {"features": tmp_path / "channel" / "features.npy", "targets": tmp_path / "channel" / spec.targets.name}
    assert read == spec.model_copy(update=paths)
    assert pack_inputs(spec, tmp_path / "channel") == files, "packing twice is packing once"


def test_channel_of_another_version_is_refused(ml, tmp_path, monkeypatch):
    monkeypatch.setattr("models_lib.training.channel._VERSION", 2)
    with pytest.raises(ConfigError, match=r"version 1 is not the 2 that this code reads"):
        read_channel(ml.channel, expected=ml.inputs_sha256, device="cpu", output=tmp_path)


def test_checkout_and_installed_package_have_the_same_entry():
    entry = ROOT / "models_lib" / "training" / "entry.py"
    assert Path(ROOT / "deployments" / "sagemaker" / "train.py").read_bytes() == entry.read_bytes()
