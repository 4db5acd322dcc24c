"""The zip in which a file of torch.save comes, taken apart after every entry was found plain.

What does not belong here: what the pickle in it says (outline.py).
"""

import io
import re
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass

from models_lib.bundle.layout import shown
from models_lib.errors import LONGEST_EXCERPT, BundleError, excerpt
from models_lib.legacy.file_kinds import not_a_torch_zip

ZIP_START = b"PK\x03\x04"
MAX_ENTRIES = 4_096
"""A V8 with its optimiser's state has about 120."""

_CENTRAL_ENTRY = b"PK\x01\x02"
_LOCAL_HEADER_BYTES = 30
_STORAGE = re.compile(r"data/\d+")
_AGAIN = "Copy it again from where it was made."


@dataclass(frozen=True, eq=False)
class TorchArchive:
    """The parts of a file of torch.save that mean something.

    Attributes:
        index: data.pkl, the pickle that says which tensors there are.
        storages: the bytes of each data/<key> by its key.
    """

    index: bytes
    storages: Mapping[str, bytes]

    def rewritten(self) -> io.BytesIO:
        """A zip of our own with these parts and no others: two readers of one strange zip may see different files."""
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as fresh:
            fresh.writestr("archive/data.pkl", self.index)
            fresh.writestr("archive/version", "3\n")
            fresh.writestr("archive/byteorder", "little")
            for key, content in self.storages.items():
                fresh.writestr(f"archive/data/{key}", content)
        stream.seek(0)
        return stream


def open_torch_archive(content: bytes, *, subject: str) -> TorchArchive:
    """The parts of the torch file with this content.

    Raises:
        BundleError: not a zip as torch.save writes it.
    """
    if not content.startswith(ZIP_START):
        raise BundleError(f"{subject} {not_a_torch_zip(content)}")
    entries = plain_entries(content, subject=subject, writer="torch.save")
    _check_is_of_torch(entries, subject=subject)
    root = next(iter(entries)).split("/")[0]
    parts = {name.removeprefix(f"{root}/"): entry for name, entry in entries.items()}
    byte_order = parts.get("byteorder", b"little")
    if byte_order != b"little":
        raise BundleError(f"{subject}: its byte order is {byte_order[:16]!r}; only little-endian files are read.")
    storages = {name.removeprefix("data/"): entry for name, entry in parts.items() if _STORAGE.fullmatch(name)}
    return TorchArchive(index=parts["data.pkl"], storages=storages)


def plain_entries(content: bytes, *, subject: str, writer: str) -> dict[str, bytes]:
    """Every entry of the zip by its name; none of them compressed, overlapping or named to escape.

    Nothing is read before every declaration was found to fit into the file. `writer` is who writes such a zip, for messages.

    Raises:
        BundleError: truncated, damaged, or not plain.
    """
    if content.count(_CENTRAL_ENTRY) > MAX_ENTRIES:
        raise BundleError(
            f"{subject}: more than {MAX_ENTRIES:,} entries in the zip; no model has so many. Do not use it."
        )
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            infos = archive.infolist()
            _check_names([info.filename for info in infos], subject=subject)
            for info in infos:
                _check_stored(info, len(content), subject=subject, writer=writer)
            _check_apart(infos, content, subject=subject)
            return {info.filename: archive.read(info) for info in infos}
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, EOFError, OSError) as error:
        raise BundleError(f"{subject}: the zip is truncated or damaged ({excerpt(error)}). {_AGAIN}") from error


def _check_names(names: list[str], *, subject: str) -> None:
    if not names:
        raise BundleError(f"{subject} is an empty zip. {_AGAIN}")
    if len(set(names)) != len(names):
        raise BundleError(f"{subject}: an entry stands twice in the zip. {_AGAIN}")
    unsafe = [repr(name) for name in names if not _is_safe(name)]
    if unsafe:
        raise BundleError(f"{subject}: the zip holds {shown(unsafe)}, a name that leads astray. Do not use it.")


def _is_safe(name: str) -> bool:
    steps = name.split("/")
    return (
        name.isprintable()
        and len(name) <= LONGEST_EXCERPT
        and "\\" not in name
        and ":" not in name
        and not {"", ".", ".."} & set(steps)
    )


def _check_stored(info: zipfile.ZipInfo, num_bytes: int, *, subject: str, writer: str) -> None:
    if info.compress_type != zipfile.ZIP_STORED:
        raise BundleError(
            f"{subject}: {info.filename} is compressed ({info.compress_size:,} bytes that claim to become "
            f"{info.file_size:,}), as a zip bomb is; {writer} compresses nothing. It was not unpacked: do not use it."
        )
    if info.flag_bits & 0x1:
        raise BundleError(f"{subject}: {info.filename} is encrypted; {writer} encrypts nothing. Do not use it.")
    if info.file_size != info.compress_size or info.header_offset + info.file_size > num_bytes:
        raise BundleError(
            f"{subject}: {info.filename} claims {info.file_size:,} bytes (stored as {info.compress_size:,}) in a file "
            f"of {num_bytes:,}. It is truncated or forged: copy it again from where it was made."
        )


def _check_apart(infos: list[zipfile.ZipInfo], content: bytes, *, subject: str) -> None:
    """No two entries share bytes: a small file cannot then hold many large ones."""
    last_name, last_end = "", 0
    for info in sorted(infos, key=lambda entry: entry.header_offset):
        if info.header_offset < last_end:
            raise BundleError(
                f"{subject}: the entries {last_name} and {info.filename} overlap in the zip, as in a zip bomb. "
                f"Do not use it."
            )
        lengths = content[info.header_offset + 26 : info.header_offset + _LOCAL_HEADER_BYTES]
        name_bytes, extra_bytes = struct.unpack("<HH", lengths) if len(lengths) == 4 else (0, 0)
        last_end = info.header_offset + _LOCAL_HEADER_BYTES + name_bytes + extra_bytes + info.file_size
        last_name = info.filename


def _check_is_of_torch(entries: Mapping[str, bytes], *, subject: str) -> None:
    names = set(entries)
    if all(name.endswith(".npy") for name in names):
        raise BundleError(f"{subject} is an .npz of numpy, not a model. A scaler's vectors are given as scaler file.")
    indices = [name for name in names if name.split("/")[-1] == "data.pkl"]
    if len(indices) != 1 or indices[0].count("/") != 1:
        found = f"{len(indices)} data.pkl" if indices else f"no data.pkl among {shown(names)}"
        raise BundleError(f"{subject} is a zip, but not as torch.save writes it: {found}. Give the .pt file.")
    root = indices[0].split("/")[0]
    inside = {name.removeprefix(f"{root}/") for name in names}
    if "constants.pkl" in inside or any(name.startswith("code/") for name in inside):
        raise BundleError(
            f"{subject} is a TorchScript program with code of its own; nothing of it was executed. "
            f"On the machine where it was made, write its state: torch.save(torch.jit.load('old.pt').state_dict(), 'new.pt')."
        )
    strangers = [name for name in names if not name.startswith(f"{root}/")]
    if strangers:
        raise BundleError(f"{subject}: the zip holds {shown(strangers)} outside {root}/. Do not use it.")
