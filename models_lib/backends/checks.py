"""What a training on this machine needs, asked before it begins: a state folder, space, torch, a GPU where one is wanted.

What does not belong here: candles (models_lib.candles.coverage), and what a paid job needs (tasks.adapters.sagemaker.checks).
"""

import secrets
import shutil
from importlib import metadata
from pathlib import Path
from typing import Final

from models_lib.candles.coverage import MINUTES_A_DAY
from models_lib.config import RunConfig
from models_lib.preflight import Finding

_BYTES_A_BAR: Final = 2_000
"""Candles, features, inputs and predictions of one bar on disk, of a run whose steps are all kept: about 1.4 kB measured."""
_GB: Final = 1_000_000_000


def local_findings(config: RunConfig, *, home: Path, num_symbols: int) -> tuple[Finding, ...]:
    """Whether a run can work here; each check is asked, whatever the others answer.

    Args:
        config: the resolved configuration.
        home: the state folder.
        num_symbols: that shall be trained.
    """
    return (_home(home), _disk(config, home, num_symbols), _torch(config))


def _home(home: Path) -> Finding:
    probe = home / f".preflight-{secrets.token_hex(4)}.partial"
    try:
        home.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        remedy = "Point CRPBOT_HOME to a folder that this user may write, with space left."
        return Finding("home", "fail", f"{home}: cannot be written ({error.strerror}).", remedy)
    return Finding("home", "pass", f"{home} can be written")


def _disk(config: RunConfig, home: Path, num_symbols: int) -> Finding:
    needed = config.data.days * MINUTES_A_DAY * num_symbols * _BYTES_A_BAR
    place = next(folder for folder in (home, *home.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(place).free
    fact = f"{free / _GB:,.1f} GB free on the disk of {home}, about {needed / _GB:,.1f} GB needed for {num_symbols:,} symbols"
    if free > needed:
        return Finding("disk", "pass", fact)
    return Finding(
        "disk", "fail", f"{fact}.", "Remove old runs with `crpbot clean`, or point CRPBOT_HOME to a bigger disk."
    )


def _torch(config: RunConfig) -> Finding:
    version, wanted = metadata.version("torch"), config.training.device
    if wanted != "cuda":
        return Finding("torch", "pass", f"torch {version}, training.device={wanted}")
    import torch  # noqa: PLC0415 - seconds, and only a GPU needs to be looked for

    if torch.cuda.is_available():
        return Finding("torch", "pass", f"torch {version}, {torch.cuda.get_device_name()}")
    remedy = "Set training.device=auto, or install a torch with CUDA and the GPU's driver."
    return Finding("torch", "fail", f"torch {version} sees no GPU, but training.device=cuda.", remedy)
