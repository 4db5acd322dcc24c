"""What the jobs read: candles for the whole window, the files made from them, and a disk that holds them.

What does not belong here: whether candles are good (models_lib.candles.checks): each run checks that itself.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from models_lib.candles.coverage import MINUTES_A_DAY
from models_lib.features import FEATURE_NAMES
from models_lib.preflight import Finding
from models_lib.training.channel import FEATURES_FILE, SPEC_FILE
from models_lib.training.spec import TARGETS_FILE
from tasks.adapters.candle_rows import data_finding
from tasks.adapters.sagemaker.checks.asking import Check, Inquiry, failed, passed

_BYTES_A_ROW: Final = 4 * len(FEATURE_NAMES) + 16
"""Features in float32; class and row numbers."""
_ROOM: Final = 2
"""Times what is read: checkpoints, model and the archive lie on the same disk."""
_GB: Final = 1_000_000_000


def of_each(symbols: tuple[str, ...]) -> list[Check]:
    """The checks of each symbol's data."""
    candles = [Check("data", partial(_candles, symbol=symbol), symbol) for symbol in symbols]
    return candles + [Check("inputs", partial(_inputs, symbol=symbol), symbol) for symbol in symbols]


def volume(inquiry: Inquiry) -> Iterator[Finding]:
    """Whether the disk of a job holds twice what it reads."""
    made = [sum(path.stat().st_size for path in folder.iterdir()) for folder in _folders(inquiry)]
    size = max(made, default=inquiry.data.days * MINUTES_A_DAY * _BYTES_A_ROW)
    disk = inquiry.section.volume_gb * _GB
    source = "measured" if made else f"estimated for data.days={inquiry.data.days}"
    fact = (
        f"{inquiry.section.volume_gb} GB of disk, {size / _GB:.3g} GB to read ({source}); {_ROOM} times that is needed"
    )
    if disk > _ROOM * size:
        yield passed("volume", fact)
    else:
        yield failed(
            "volume", f"{fact}.", f"Set training.sagemaker.volume_gb to {-(-_ROOM * size // _GB) + 1} or more."
        )


def _candles(inquiry: Inquiry, *, symbol: str) -> Iterator[Finding]:
    yield data_finding(inquiry.config, symbol, home=inquiry.home, aws=inquiry.aws)


def _folders(inquiry: Inquiry) -> list[Path]:
    return [folder for folder in inquiry.prepared.values() if folder.is_dir()]


def _inputs(inquiry: Inquiry, *, symbol: str) -> Iterator[Finding]:
    """Whether the files that the job will read are whole, where they are made already."""
    folder = inquiry.prepared.get(symbol)
    if folder is None:
        return
    remedy = "Start the run again, so that they are made anew."
    missing = [name for name in (FEATURES_FILE, TARGETS_FILE, SPEC_FILE) if not (folder / name).is_file()]
    if missing:
        yield failed("inputs", f"{folder}: {' and '.join(missing)} is missing.", remedy, symbol)
        return
    try:
        features = np.load(folder / FEATURES_FILE, mmap_mode="r", allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        yield failed("inputs", f"{folder / FEATURES_FILE}: cannot be read ({error}).", remedy, symbol)
        return
    shape = " x ".join(f"{size:,}" for size in features.shape)
    if features.ndim != 2 or 0 in features.shape or features.dtype != np.float32:
        fact = f"{folder / FEATURES_FILE}: must be rows x features in float32, was {shape} in {features.dtype}."
        yield failed("inputs", fact, remedy, symbol)
    else:
        yield passed("inputs", f"features {shape} in {features.dtype}", symbol)
