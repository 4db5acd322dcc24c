"""The source archive: what is in it, every silly reason for which a job would fail, a rehearsal, and SageMaker's real toolkit."""

import gzip
import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from sagemaker_training.process import _SAFE_ENTRY_POINT

from models_lib.backends import LocalBackend, train
from models_lib.errors import TrainingError
from models_lib.training.container import HYPERPARAMETERS
from tasks.adapters.sagemaker.archive import _TOOLKITS_PATTERN, ENTRY, Archive, build_archive, check_archive
from tasks.adapters.sagemaker.rehearsal import dry_run
from tests.small_training import ROOT, Ml, small_spec

GIVEN = {
    "sagemaker_program": ENTRY,
    "sagemaker_submit_directory": "s3://bucket/code.tar.gz",
    "inputs_sha256": "0" * 64,
    "checkpoint_seconds": "60.0",
    "device": "auto",
}
TRAIN = Path(sys.executable).parent / "train"


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return build_archive(tmp_path_factory.mktemp("archive"))


@pytest.fixture(scope="module")
def files(archive):
    with tarfile.open(archive.path) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


def packed(path, files, *, links=()):
    """A gzip tar of these files at `path`."""
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for name in links:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(member)
    return path


def checked(path, *, entry=ENTRY, hyperparameters=GIVEN):
    return {each.check: each for each in check_archive(path, entry=entry, hyperparameters=hyperparameters)}


def test_archive_holds_the_entry_the_library_and_pins_and_is_the_same_again(archive, files, tmp_path):
    rest = dict(files)
    assert rest.pop("train.py") == (ROOT / "deployments" / "sagemaker" / "train.py").read_bytes()
    pins = rest.pop("requirements.txt").decode().split()
    assert [pin.partition("==")[0] for pin in pins] == ["pydantic", "safetensors"]
    assert rest == {
        path.relative_to(ROOT).as_posix(): path.read_bytes() for path in (ROOT / "models_lib").rglob("*.py")
    }
    again = build_archive(tmp_path)
    assert again.path.read_bytes() == archive.path.read_bytes()
    assert again == Archive(again.path, archive.sha256, ENTRY, archive.path.stat().st_size)
    on_cpu = build_archive(tmp_path, device="cpu")
    with tarfile.open(on_cpu.path) as tar:
        assert b"numba==" in tar.extractfile("requirements.txt").read()


def test_archive_that_was_built_is_sound(archive):
    found = checked(archive.path)
    assert {check: each.answer for check, each in found.items()} == {"archive": "pass", "entry script": "pass"}
    assert set(HYPERPARAMETERS) <= set(GIVEN)


def test_script_under_another_name_is_found_before_it_costs_anything(files, tmp_path):
    """So one job of the past failed: the archive held the script under another name than the job's."""
    renamed = {
        name.replace("train.py", "train_symbol.py") if name == ENTRY else name: each for name, each in files.items()
    }
    found = checked(packed(tmp_path / "a.tar.gz", renamed))["entry script"]
    assert found.answer == "fail"
    assert found.fact == "the job would run train.py, which is not in the archive; at its top it has train_symbol.py."
    assert found.remedy == "Give the script and the job's sagemaker_program the same name, train.py."


@pytest.mark.parametrize(
    "entry", ["", "-train.py", "/train.py", "../train.py", "a/./train.py", "train.sh", "my train.py"]
)
def test_name_that_the_toolkit_does_not_run_as_python_is_refused(archive, entry):
    found = checked(archive.path, entry=entry)["entry script"]
    assert found.answer == "fail"
    assert "the toolkit does not run" in found.fact


def test_names_are_those_that_the_toolkit_takes():
    assert _SAFE_ENTRY_POINT.pattern == f"^{_TOOLKITS_PATTERN.pattern}$"


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        ({ENTRY: b"def main(:\n"}, "train.py is no Python: "),
        ({ENTRY: b"import torch_that_is_not_there\n"}, "No module named 'torch_that_is_not_there'"),
        ({ENTRY: b"print('{}')\n"}, "train.py --check does not say what it loaded, but {}"),
        ({"models_lib/training/trainer.py": None}, "No module named 'models_lib.training.trainer'"),
        ({"models_lib/errors.py": b"raise RuntimeError('half a file')\n"}, "RuntimeError: half a file"),
    ],
)
def test_entry_that_does_not_run_is_found(files, tmp_path, change, fact):
    changed = {name: each for name, each in (files | change).items() if each is not None}
    found = checked(packed(tmp_path / "a.tar.gz", changed))["entry script"]
    assert found.answer == "fail"
    assert fact in found.fact


def test_entry_that_takes_the_library_from_elsewhere_is_found(files, tmp_path):
    found = checked(packed(tmp_path / "a.tar.gz", {ENTRY: files[ENTRY]}))["entry script"]
    assert found.fact == f"train.py does not load the library of the archive, but that of {ROOT}."


def test_hyperparameter_that_the_entry_does_not_take_is_found(archive):
    found = checked(archive.path, hyperparameters=GIVEN | {"learning_rate": "0.1"})["entry script"]
    assert "unrecognized arguments: --learning_rate 0.1" in found.fact


def cut(content):
    return content[: len(content) // 2]


@pytest.mark.parametrize("damage", [cut, gzip.decompress, lambda _: b""])
def test_file_that_is_no_whole_gzip_tar_is_found(archive, tmp_path, damage):
    path = tmp_path / "a.tar.gz"
    path.write_bytes(damage(archive.path.read_bytes()))
    found = checked(path)
    assert found["archive"].answer == "fail"
    assert "a.tar.gz is no whole gzip tar: " in found["archive"].fact
    assert found["entry script"].answer == "unknown"


def test_file_that_is_missing_is_found(tmp_path):
    assert checked(tmp_path / "none.tar.gz")["archive"].answer == "fail"


@pytest.mark.parametrize(
    ("added", "links", "fact"),
    [
        ({"setup.py": b""}, (), "it has a setup.py at its top"),
        ({"requirements.txt": b"pydantic>=2\n"}, (), "requirements.txt does not name one version of pydantic>=2."),
        ({"../outside.py": b""}, (), "../outside.py is neither a file nor a folder below the archive's top."),
        ({"/etc/outside.py": b""}, (), "/etc/outside.py is neither a file nor a folder below the archive's top."),
        ({}, ("models_lib/link.py",), "models_lib/link.py is neither a file nor a folder below"),
        ({"large.bin": os.urandom(17 << 20)}, (), "a.tar.gz has 17,8"),
        ({"zeros.bin": bytes(129 << 20)}, (), "it unpacks to more than 134,217,728 bytes."),
    ],
    ids=["setup.py", "loose pin", "upwards", "absolute", "link", "large", "bomb"],
)
def test_archive_that_no_container_should_unpack_is_found(tmp_path, added, links, fact):
    found = checked(packed(tmp_path / "a.tar.gz", {ENTRY: b""} | added, links=links))["archive"]
    assert found.answer == "fail"
    assert fact in found.fact


@pytest.mark.long
def test_rehearsal_trains_one_epoch_on_few_rows_and_leaves_nothing(archive, tmp_path):
    spec = small_spec(tmp_path / "spec", rows=9_000, epochs=50)
    told = dry_run(archive, spec, tmp_path / "rehearsal")
    assert (told.symbol, told.rows) == ("BTC-USD", 5_000)
    assert 0.0 < told.validation_nll < 1.0, "chance is 1.0986"
    assert told.versions["torch"]
    assert told.seconds > 0.0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["spec"]


def test_rehearsal_that_fails_says_why(files, tmp_path):
    """The entry's own failure file, where the container's folders are; its log is not what is shown then."""
    path = packed(tmp_path / "a.tar.gz", files | {"models_lib/training/job.py": b"raise MemoryError('all of it')\n"})
    archive = Archive(path, "0" * 64, ENTRY, path.stat().st_size)
    with pytest.raises(TrainingError) as caught:
        dry_run(archive, small_spec(tmp_path / "spec"), tmp_path / "rehearsal")
    told = "BTC-USD: the rehearsal of the job fails: TrainingError: the container is out of memory (all of it)."
    assert str(caught.value).startswith(told)


def test_rehearsal_of_a_script_that_writes_no_model_fails(tmp_path):
    path = packed(tmp_path / "a.tar.gz", {ENTRY: b"print('done')\n"})
    archive = Archive(path, "0" * 64, ENTRY, path.stat().st_size)
    with pytest.raises(TrainingError, match="ended well, but left no whole model"):
        dry_run(archive, small_spec(tmp_path / "spec"), tmp_path / "rehearsal")


def test_rehearsal_of_a_script_that_dies_tells_its_last_words(tmp_path):
    path = packed(tmp_path / "a.tar.gz", {ENTRY: b"import sys\nsys.exit('the last words')\n"})
    archive = Archive(path, "0" * 64, ENTRY, path.stat().st_size)
    with pytest.raises(TrainingError, match=r"it left no reason; its log ends: the last words"):
        dry_run(archive, small_spec(tmp_path / "spec"), tmp_path / "rehearsal")


def toolkit(ml, archive, **hyperparameters):
    """SageMaker's own `train` over the folder, as the PyTorch images start it; pip may ask no index for anything."""
    config = ml.folder / "input" / "config"
    for made_by_aws in (config, ml.model, ml.failure.parent):
        made_by_aws.mkdir(parents=True)
    host = {"current_host": "algo-1", "hosts": ["algo-1"], "network_interface_name": "lo"}
    channel = {"TrainingInputMode": "File", "S3DistributionType": "FullyReplicated", "RecordWrapperType": "None"}
    given = GIVEN | {"sagemaker_submit_directory": str(archive.path), "device": "cpu"} | hyperparameters
    (config / "hyperparameters.json").write_text(json.dumps(given))
    (config / "inputdataconfig.json").write_text(json.dumps({"training": channel}))
    (config / "resourceconfig.json").write_text(json.dumps(host))
    environ = {
        "PATH": f"{TRAIN.parent}:{os.environ['PATH']}",
        "SAGEMAKER_BASE_DIR": str(ml.folder),
        "SM_STUDIO_LOCAL_MODE": "True",
        "TRAINING_JOB_NAME": "a-job",
        "AWS_REGION": "eu-central-1",
        "PIP_NO_INDEX": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
    }
    return subprocess.run([TRAIN], env=environ, cwd=ml.folder, capture_output=True, text=True, check=False)


@pytest.mark.long
def test_sagemakers_toolkit_runs_the_archive_to_the_same_bytes_as_the_local_backend(archive, tmp_path):
    spec = small_spec(tmp_path / "spec")
    ml = Ml(tmp_path / "ml", spec)
    ended = toolkit(ml, archive, inputs_sha256=ml.inputs_sha256)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "Requirement already satisfied: safetensors==" in ended.stdout, "pip had nothing to do"
    assert ml.weights_sha256() == train(LocalBackend(), spec, on_progress=lambda _: None).sha256
    assert (ml.folder / "output" / "success").exists()
    assert not ml.failure.exists()


@pytest.mark.long
def test_sagemakers_toolkit_leaves_our_reason_of_a_failure(archive, tmp_path):
    ml = Ml(tmp_path / "ml", small_spec(tmp_path / "spec"))
    ended = toolkit(ml, archive)
    assert ended.returncode == 1
    assert ml.failure.read_text().startswith("DataError: the channel training is of the training ")
    assert not (ml.folder / "output" / "success").exists()
    assert list(ml.model.iterdir()) == []
