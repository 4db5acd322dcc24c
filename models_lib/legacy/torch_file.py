"""The document in a torch file, after zip and pickle were found harmless.

The boundary is in two parts, and neither knows the other: archive.py and outline.py look at the bytes and execute
nothing; torch.load(weights_only=True) then reads with an allow-list of its own. There is no other way in, and no
fallback.

What does not belong here: what the document means (model.py).
"""

import threading
import warnings
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch

from models_lib.errors import BundleError, ConfigError, excerpt
from models_lib.files import sha256_bytes
from models_lib.legacy.archive import open_torch_archive
from models_lib.legacy.outline import check_outline
from models_lib.legacy.stand_ins import NUMBER_BYTES, RECONSTRUCT_NAMES, SCALAR_NAMES, SCALER_NAMES

MAX_FILE_BYTES = 64 << 20
"""A network of 72-256-128-64-3 has 0.24 MB; with the two moments of its optimiser 0.72."""
_ONE_AT_A_TIME = threading.Lock()  # torch's allow-list is one for the process


class FittedScalerState:
    """What stands in the place of a StandardScaler while its file is read: it keeps the state and can do nothing.

    The state is kept and not copied: a file of 3 MB can give one large dictionary to 100,000 of these.
    """

    state: dict[str, Any]

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.state = state


def read_document(path: Path) -> tuple[dict[str, Any], str]:
    """The dictionary in the torch file, and the file's SHA-256. Nothing of the file is executed.

    Raises:
        ConfigError: there is no such file, or it cannot be read.
        BundleError: it is not what torch.save writes for a model, too large, damaged, or asks for anything beside
            tensors, numbers, arrays, texts and a StandardScaler.
    """
    content = file_content(path, MAX_FILE_BYTES)
    archive = open_torch_archive(content, subject=str(path))
    check_outline(archive.index, {key: len(part) for key, part in archive.storages.items()}, subject=str(path))
    try:
        with _ONE_AT_A_TIME, warnings.catch_warnings(), torch.serialization.safe_globals(_allow_list()):
            warnings.simplefilter("ignore")  # about flags that older numpys wrote as 0 and 1
            document = torch.load(archive.rewritten(), map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, ValueError, TypeError, LookupError, EOFError) as error:
        # What torch says about its allow-list advises to switch it off.
        why = "its own allow-list refuses it" if isinstance(error, UnpicklingError) else excerpt(error)
        raise BundleError(f"{path}: torch does not read it ({why}). Copy it again from where it was made.") from error
    assert isinstance(document, dict), "the outline said so"
    return dict(document), sha256_bytes(content)


def file_content(path: Path, max_bytes: int) -> bytes:
    """The content of a plain file of a bearable size.

    Raises:
        ConfigError: there is no such file, or it cannot be read.
        BundleError: it is larger than `max_bytes`.
    """
    try:
        if not path.is_file():  # a pipe would be waited for
            what = "is no plain file" if path.exists() else "does not exist"
            raise ConfigError(f"{path} {what}. Give the path of the model's file.")
        num_bytes = path.stat().st_size
        if num_bytes > max_bytes:
            raise BundleError(
                f"{path} has {num_bytes:,} bytes (at most {max_bytes:,} allowed), many times what such a file needs. "
                f"Give the file of one model, without data."
            )
        with path.open("rb") as stream:
            return stream.read(max_bytes)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}). Check its permissions.") from error


def _allow_list() -> list[Any]:
    """Exactly StandardScaler, as a class that can do nothing, and numpy's constructors of arrays and types."""
    reconstruct, scalar = np.empty(0).__reduce__()[0], np.float64(0.0).__reduce__()[0]
    named = {
        **dict.fromkeys(SCALER_NAMES, FittedScalerState),
        **dict.fromkeys(RECONSTRUCT_NAMES, reconstruct),
        **dict.fromkeys(SCALAR_NAMES, scalar),
        "numpy ndarray": np.ndarray,
        "numpy dtype": np.dtype,
    }
    kinds = {type(np.dtype(code)) for code in (*NUMBER_BYTES, "O")}
    return [*kinds, *((value, name.replace(" ", ".")) for name, value in named.items())]
