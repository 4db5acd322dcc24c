"""The inside of a training container: its folders, files, variables and first process.

/opt/ml of AWS is here the folder that SAGEMAKER_BASE_DIR names; paths of a request below /opt/ml mean that folder.

What does not belong here: processes (container.py), and when the container starts and ends.
"""

import json
import os
import sys
import sysconfig
import tarfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, Final

from tests.aws.cloud_settings import Pace
from tests.aws.container import Container
from tests.aws.job_storage import JobStorage

HOST: Final = "algo-1"
_HIDE: Final = """# The container's image has neither this project nor what the project needs elsewhere, unless
# the archive's requirements.txt has it installed there.
import importlib.machinery, os, sys

_REQUIREMENTS = os.path.join(os.environ["SAGEMAKER_BASE_DIR"], "code", "requirements.txt")

def _is_missing(package):
    if package not in {hidden!r}:
        return False
    try:
        with open(_REQUIREMENTS) as lines:
            return package not in [line.partition("==")[0].strip() for line in lines]
    except FileNotFoundError:
        return True

class _Image(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if _is_missing(name.partition(".")[0]) else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(importlib.machinery.PathFinder)] = _Image
sys.path[:] = [folder for folder in sys.path if not os.path.isdir(os.path.join(folder or ".", "models_lib"))]
"""
_PASSED: Final = ("LANG", "LC_ALL", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NO_PROXY")


def inside(base: Path, path: str) -> Path:
    """Where a path of the container is here."""
    return base / PurePosixPath(path).relative_to("/opt/ml")


def lay_out(request: dict[str, Any], base: Path) -> None:
    """The folders and files that a container finds."""
    for name in ("input/config", "model", "output/data", "code", "checkpoints"):
        (base / name).mkdir(parents=True)
    config = request.get("CheckpointConfig", {})
    inside(base, config.get("LocalPath", "/opt/ml/checkpoints")).mkdir(parents=True, exist_ok=True)
    channels = request.get("InputDataConfig", [])
    for channel in channels:
        (base / "input/data" / channel["ChannelName"]).mkdir(parents=True)
    _write(base, "hyperparameters", request.get("HyperParameters", {}))
    _write(base, "inputdataconfig", {channel["ChannelName"]: _of_channel(channel) for channel in channels})
    _write(base, "resourceconfig", _resources(request))


def run(
    request: dict[str, Any],
    base: Path,
    *,
    region: str,
    arn: str,
    pace: Pace,
    storage: JobStorage,
    tell: Callable[[str], None],
) -> Container:
    """Starts the container of a job over its folder."""
    environment = _environment(request, base, region, arn, pace)
    if pace.runner == "direct":
        command, more = _direct(request, base, storage)
        return Container(command, environment=environment | more, folder=base / "code", tell=tell)
    train = str(Path(sysconfig.get_path("scripts")) / "train")
    return Container([train], environment=environment, folder=base, tell=tell)


def _of_channel(channel: dict[str, Any]) -> dict[str, str]:
    source = channel["DataSource"]["S3DataSource"]
    known = {
        "TrainingInputMode": channel.get("InputMode", "File"),
        "S3DistributionType": source.get("S3DataDistributionType", "FullyReplicated"),
        "RecordWrapperType": channel.get("RecordWrapperType", "None"),
    }
    return known | ({"ContentType": channel["ContentType"]} if "ContentType" in channel else {})


def _resources(request: dict[str, Any]) -> dict[str, Any]:
    instance, group = request["ResourceConfig"]["InstanceType"], "homogeneousCluster"
    return {
        "current_host": HOST,
        "hosts": [HOST],
        "network_interface_name": "eth0",
        "current_instance_type": instance,
        "current_group_name": group,
        "instance_groups": [{"instance_group_name": group, "instance_type": instance, "hosts": [HOST]}],
    }


def _environment(request: dict[str, Any], base: Path, region: str, arn: str, pace: Pace) -> dict[str, str]:
    """Everything that the container sees of its surroundings."""
    hide = base.parent / "image"
    hide.mkdir(exist_ok=True)
    (hide / "sitecustomize.py").write_text(_HIDE.format(hidden=set(pace.hidden)))
    tmp = base / "tmp"
    tmp.mkdir()
    passed = {name: os.environ[name] for name in _PASSED if name in os.environ}
    of_aws = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    own = {
        "PATH": f"{sysconfig.get_path('scripts')}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(tmp),
        "TMPDIR": str(tmp),
        "PYTHONPATH": str(hide),
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "SAGEMAKER_BASE_DIR": str(base),
        "SM_STUDIO_LOCAL_MODE": "True",
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "TRAINING_JOB_NAME": request["TrainingJobName"],
        "TRAINING_JOB_ARN": arn,
    }
    asked: dict[str, str] = request.get("Environment", {})
    return passed | of_aws | own | asked


def _direct(request: dict[str, Any], base: Path, storage: JobStorage) -> tuple[list[str], dict[str, str]]:
    """What the toolkit would do, in few words: unpack, set variables, start the program with its arguments."""
    values = {name: _parsed(value) for name, value in request.get("HyperParameters", {}).items()}
    program, source = str(values["sagemaker_program"]), str(values["sagemaker_submit_directory"])
    archive = base / "tmp/source.tar.gz"
    storage.fetch_object(source, archive)
    with tarfile.open(archive, "r:gz") as tar:
        tar.extractall(base / "code", filter="data")
    own = {name: value for name, value in values.items() if not name.startswith("sagemaker_")}
    arguments = [word for name in sorted(own) for word in (f"--{name}", str(own[name]))]
    channels = [channel["ChannelName"] for channel in request.get("InputDataConfig", [])]
    variables = {
        "SM_MODEL_DIR": base / "model",
        "SM_INPUT_DIR": base / "input",
        "SM_INPUT_CONFIG_DIR": base / "input/config",
        "SM_OUTPUT_DIR": base / "output",
        "SM_OUTPUT_DATA_DIR": base / "output/data",
        "SM_OUTPUT_INTERMEDIATE_DIR": base / "output/intermediate",
        "SM_CHANNELS": json.dumps(sorted(channels)),
        "SM_HPS": json.dumps(own),
        "SM_HOSTS": json.dumps([HOST]),
        "SM_CURRENT_HOST": HOST,
        "SM_CURRENT_INSTANCE_TYPE": request["ResourceConfig"]["InstanceType"],
        "SM_NUM_CPUS": os.cpu_count(),
        "SM_NUM_GPUS": 0,
        "SM_MODULE_NAME": program,
        "SM_USER_ENTRY_POINT": program,
        "SM_USER_ARGS": json.dumps(arguments),
        "SM_RESOURCE_CONFIG": json.dumps(_resources(request)),
        **{f"SM_CHANNEL_{name.upper()}": base / "input/data" / name for name in channels},
        **{
            f"SM_HP_{name.upper()}": value if isinstance(value, str) else json.dumps(value)
            for name, value in own.items()
        },
    }
    # A shell as PID 1, as the toolkit is one: a signal for it does not reach the script.
    told = (
        '"$@"; code=$?; [ $code = 0 ] || [ -e "$SM_OUTPUT_DIR/failure" ] || printf '
        '\'ExecuteUserScriptError:\\nExitCode %s\\nErrorMessage ""\\nCommand "%s"\' "$code" "$*" '
        '> "$SM_OUTPUT_DIR/failure"; [ $code = 0 ] || exit 1'
    )
    python = [sys.executable, "--", program, *arguments]
    return ["/bin/sh", "-c", told, "sh", *python], {name: str(value) for name, value in variables.items()}


def _parsed(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return value


def _write(base: Path, name: str, content: Any) -> None:
    (base / "input/config" / f"{name}.json").write_text(json.dumps(content))
