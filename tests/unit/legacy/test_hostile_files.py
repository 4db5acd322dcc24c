"""Files that would run code, eat memory or pretend: each is refused, quickly, and nothing of it is executed."""

import builtins
import copyreg
import functools
import os
import pickle
import resource
import struct
import time
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.preprocessing import StandardScaler

from models_lib.errors import BundleError, ConfigError
from models_lib.legacy import read_legacy
from models_lib.legacy.archive import MAX_ENTRIES
from models_lib.legacy.outline import MAX_OPCODES
from tests.unit.legacy.conftest import Entry, old_network, rewritten, some_rows, write_zip

RECONSTRUCT = np.empty(0).__reduce__()[0]
SCALAR = np.float64(0.0).__reduce__()[0]


class Call:
    """Pickles as a call of `function`, and gives what came back a state."""

    def __init__(self, function: Callable[..., Any], *arguments: Any, state: Any = None) -> None:
        self.parts = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> Any:
        return self.parts


def touching(marker: Path) -> Call:
    """What makes the marker when it is read."""
    return Call(os.system, f"touch {marker}")


def fitted_scaler() -> StandardScaler:
    return StandardScaler().fit(some_rows().numpy())


def scaler_with(**state: Any) -> StandardScaler:
    scaler = fitted_scaler()
    vars(scaler).update(state)
    return scaler


@pytest.fixture
def bounded() -> Iterator[None]:
    """The test's body takes seconds and megabytes, whatever the file claims."""
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert time.perf_counter() - started < 20.0
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 400.0  # MiB


def beside_a_state(hostile: Any) -> dict[str, Any]:
    return {"model_state_dict": old_network(norms=False).state_dict(), "extra": hostile}


def document_in_scaler(hostile: Any) -> dict[str, Any]:
    return beside_a_state(None) | {"scaler": scaler_with(mean_=hostile)}


CODE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "os.system": (lambda marker: beside_a_state(touching(marker)), "asks for posix.system when it is read"),
    "instead of everything": (touching, "asks for posix.system when it is read"),
    "builtins.eval": (
        lambda marker: beside_a_state(Call(builtins.eval, f"open({str(marker)!r}, 'w').close()")),
        "asks for builtins.eval when it is read",
    ),
    "through functools": (
        lambda marker: beside_a_state(Call(functools.partial(os.system, f"touch {marker}"))),
        "asks for functools.partial when it is read",
    ),
    "through copyreg": (
        lambda marker: beside_a_state(Call(copyreg._reconstructor, Path, object, None)),
        "asks for copyreg._reconstructor when it is read",
    ),
    "in the scaler's state": (
        lambda marker: document_in_scaler(touching(marker)),
        "asks for posix.system when it is read",
    ),
    "as the scaler's whole state": (
        lambda marker: beside_a_state(None) | {"scaler": scaler_with(__getstate__=lambda: touching(marker))},
        "asks for posix.system when it is read",
    ),
    "in an array of objects": (
        lambda marker: beside_a_state(np.array([touching(marker)], dtype=object)),
        "asks for posix.system when it is read",
    ),
    "in the bytes of a number that is an object": (
        lambda marker: beside_a_state(Call(SCALAR, np.dtype(object), pickle.dumps(touching(marker)))),
        "calls numpy._core.multiarray.scalar in a way in which torch.save never does",
    ),
    "a whole module": (lambda _: old_network(norms=False), "asks for torch.nn.modules.container.Sequential"),
}


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("name", CODE)
def test_file_that_would_run_code_is_refused_and_runs_nothing(
    tmp_path: Path, saved: Callable[..., Path], name: str
) -> None:
    make, told = CODE[name]
    marker = tmp_path / "executed"
    path = saved(make(marker))
    with pytest.raises(BundleError) as refusal:
        read_legacy(path)
    assert not marker.exists()
    assert str(refusal.value).startswith(f"{path} {told}")
    assert "nothing of it was executed" in str(refusal.value)


@pytest.mark.parametrize("name", ["os.system", "builtins.eval", "through functools", "in the scaler's state"])
def test_the_same_file_does_run_code_in_a_careless_reader(
    tmp_path: Path, saved: Callable[..., Path], name: str
) -> None:
    """Otherwise the test above would prove nothing."""
    marker = tmp_path / "executed"
    torch.load(saved(CODE[name][0](marker)), weights_only=False)
    assert marker.exists()


def test_other_protocol_is_refused_before_anything_of_it_is_read(tmp_path: Path, saved: Callable[..., Path]) -> None:
    marker = tmp_path / "executed"
    with pytest.raises(BundleError, match=r"uses pickle protocol 4, which torch\.save does not write by itself"):
        read_legacy(saved(beside_a_state(touching(marker)), pickle_protocol=4))
    assert not marker.exists()


INDICES: dict[str, tuple[bytes, str]] = {
    "protocol 0": (b"cposix\nsystem\n(S'true'\ntR.", "asks for posix.system"),
    "an old text": (b"(S'true'\niposix\nsystem\n.", "uses the pickle step STRING"),
    "an old instance": (b"(iposix\nsystem\n.", "asks for posix.system"),
    "a tuple": (b"\x80\x02(K\x01K\x02t.", "holds no dictionary of tensors"),
    "two things": (b"\x80\x02}}.", "holds no dictionary of tensors"),
    "no end": (b"\x80\x02}", "its index (data.pkl) is damaged"),
    "a text of 4 GB": (b"\x80\x02}X\xff\xff\xff\xffabc.", "its index (data.pkl) is damaged"),
    "a call of nothing": (b"\x80\x02R.", "its index (data.pkl) is damaged"),
    "a memory of nothing": (b"\x80\x02}h\x07.", "its index (data.pkl) is damaged"),
    "an item for a dictionary": (b"\x80\x02}K\x01a.", "its index (data.pkl) is damaged"),
    "half an item": (b"\x80\x02}(K\x01u.", "its index (data.pkl) is damaged"),
    "a pair of one": (b"\x80\x02}\x86.", "its index (data.pkl) is damaged"),
    "an unknown step": (b"\x80\x02}\x00.", "its index (data.pkl) is damaged"),
    "empty": (b"", "its index (data.pkl) is damaged"),
    "another step": (b"\x80\x02}N0.", "uses the pickle step POP"),
    "a million steps": (b"\x80\x02}" + b"N" * MAX_OPCODES + b".", f"has more than {MAX_OPCODES:,} steps in its index"),
}


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("name", INDICES)
def test_index_that_torch_never_writes_is_refused(sound: Path, name: str) -> None:
    index, told = INDICES[name]
    with pytest.raises(BundleError) as refusal:
        read_legacy(rewritten(sound, lambda entries: entries.update({"model/data.pkl": index})))
    assert told in str(refusal.value)


def doubled(start: Any, times: int, double: Callable[[Any], Any]) -> Any:
    for _ in range(times):
        start = double(start)
    return start


FLOAT_ARRAY_STATE = (1, (10**12,), np.dtype("f8"), False, b"\x00" * 8)


def tensor_of(offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> Call:
    typed = torch.storage.TypedStorage(
        wrap_storage=torch.arange(4.0).untyped_storage(), dtype=torch.float32, _internal=True
    )
    return Call(torch._utils._rebuild_tensor_v2, typed, offset, size, stride, False, OrderedDict())


def forged_dtype(flags: int) -> Call:
    return Call(np.dtype, "f8", False, True, state=(3, "<", None, None, None, -1, -1, flags))


def array_with(state: Any) -> Call:
    return Call(RECONSTRUCT, np.ndarray, (0,), b"b", state=state)


BOMBS: dict[str, tuple[Callable[[], Any], str]] = {
    "array of 1e12 numbers": (
        lambda: beside_a_state(Call(RECONSTRUCT, np.ndarray, (10**12,), b"b")),
        "calls numpy._core.multiarray._reconstruct in a way",
    ),
    "state of 1e12 numbers": (lambda: beside_a_state(array_with(FLOAT_ARRAY_STATE)), "gives array f8 a state"),
    "array of objects": (
        lambda: beside_a_state(array_with((1, (1,), np.dtype(object), False, [{"a": 1}]))),
        "gives array O8 a state that torch.save never writes",
    ),
    "array of scalers": (lambda: document_in_scaler(np.array([fitted_scaler()])), "gives array O8 a state"),
    "numbers taken for pointers": (
        lambda: beside_a_state(array_with((1, (1,), forged_dtype(63), False, b"\x00" * 8))),
        "gives dtype f8 a state that torch.save never writes",
    ),
    "strings of 1e12 bytes": (
        lambda: beside_a_state(Call(np.dtype, "V1000000000000", False, True)),
        "calls numpy.dtype in a way",
    ),
    "bytes doubled by a codec": (
        lambda: beside_a_state(Call(__import__("_codecs").encode, "a" * 1_000, "utf-16")),
        "calls _codecs.encode in a way",
    ),
    "one text made into bytes a thousand times": (
        lambda: beside_a_state(memo_of_bytes("x" * 1_000_000, 1_000)),
        "would make more than 67,108,864 bytes of arrays",
    ),
    "tensor beyond its storage": (
        lambda: beside_a_state(tensor_of(0, (10**9,), (1,))),
        "calls torch._utils._rebuild_tensor_v2 in a way",
    ),
    "tensor of one number, 1e12 times": (
        lambda: beside_a_state(tensor_of(0, (10**12,), (0,))),
        "calls torch._utils._rebuild_tensor_v2 in a way",
    ),
    "tensor behind its storage": (
        lambda: beside_a_state(tensor_of(4, (1,), (1,))),
        "calls torch._utils._rebuild_tensor_v2 in a way",
    ),
    "list of a billion by doubling": (
        lambda: (
            beside_a_state(None)
            | {"scaler_mean": doubled([1.0], 30, lambda part: [part, part]), "scaler_scale": [1.0] * 72}
        ),
        "scaler_mean must be a vector of numbers, was a list",
    ),
    "tuple of a billion as a key": (
        lambda: beside_a_state({doubled((), 24, lambda part: (part, part)): 1}),
        "as the key of a dictionary, as no model has",
    ),
    "tuple as a key": (lambda: {((1, 2), 3): 1}, "has a ((...), 3) as the key of a dictionary"),
    "name of ten million letters": (
        lambda: {"x" * 10_000_000: 1},
        "has a str of 10,000,000 as the key of a dictionary",
    ),
    "name that moves the cursor": (lambda: {"\x1b[31m": 1}, "has a str of 5 as the key of a dictionary"),
    "attributes over a dictionary's methods": (
        lambda: beside_a_state(Call(OrderedDict, state={"items": 1})),
        "gives dict a state that torch.save never writes",
    ),
}


def memo_of_bytes(text: str, times: int) -> list[Call]:
    encode = __import__("_codecs").encode
    return [Call(encode, text, "latin1") for _ in range(times)]


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("name", BOMBS)
def test_index_that_would_eat_memory_or_time_is_refused(saved: Callable[..., Path], name: str) -> None:
    make, told = BOMBS[name]
    with pytest.raises(BundleError) as refusal:
        read_legacy(saved(make()))
    assert told in str(refusal.value)


@pytest.mark.usefixtures("bounded")
def test_deep_and_wide_extras_are_ignored_without_being_walked(saved: Callable[..., Path]) -> None:
    document = beside_a_state(doubled([], 400, lambda part: [part])) | {
        "wide": doubled([1], 40, lambda part: [part, part])
    }
    assert read_legacy(saved(document)).notes == ("ignored, because it answers nothing: extra, wide",)


@pytest.mark.usefixtures("bounded")
def test_large_state_of_many_scalers_is_kept_once(sound: Path) -> None:
    state = b"}\x94(" + b"".join(b"J" + struct.pack("<i", key) + b"N" for key in range(200_000)) + b"u"
    named = b"csklearn.preprocessing._data\nStandardScaler\n"
    index = b"\x80\x02}X\x01\0\0\0x](" + state.replace(b"\x94", b"q\x01", 1) + named + b"q\x02)\x81j\x01\0\0\0b"
    index += b"j\x02\0\0\0)\x81j\x01\0\0\0b" * 5_000 + b"es."
    with pytest.raises(BundleError, match="no state of a network"):
        read_legacy(rewritten(sound, lambda entries: entries.update({"model/data.pkl": index})))


@pytest.mark.parametrize(
    "index", [b"\x80\x02}F" + b"x" * 1_000_000 + b"\n.", b"\x80\x02c\x1b[31m\x07\nb\n.", b"\x80\x02}}b."]
)
def test_refusal_is_one_short_line_whatever_the_file_says(sound: Path, index: bytes) -> None:
    with pytest.raises(BundleError) as refusal:
        read_legacy(rewritten(sound, lambda entries: entries.update({"model/data.pkl": index})))
    told = str(refusal.value)
    assert told.isprintable()
    assert len(told) < 1_000
    assert "weights_only" not in told  # torch advises to read it with everything allowed


@pytest.mark.parametrize("name", ["two\nlines.pt", "\udcff.pt"])
def test_name_that_no_page_can_show_is_refused(sound: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="Rename the file"):
        read_legacy(sound.rename(sound.with_name(name)))


def test_two_kinds_of_numbers_in_one_storage_are_refused(sound: Path) -> None:
    def change(entries: dict[str, bytes]) -> None:
        index = entries["model/data.pkl"]
        first = index.index(b"X\x01\x00\x00\x002")  # the key of the second layer's weight becomes the first one's
        entries["model/data.pkl"] = index[: first + 5] + b"0" + index[first + 6 :]

    with pytest.raises(BundleError, match="says that data/0 holds 32,768 numbers of 4 bytes; it holds 73,728 bytes"):
        read_legacy(rewritten(sound, change))


def deflated_zeros(mebibytes: int) -> bytes:
    """A deflate stream that unpacks to so many MiB of zeros, without ever making them."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packer.compress(bytes(1 << 20))
    segment = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return segment * mebibytes + b"\x03\x00"


ZIPS: dict[str, tuple[list[Entry], str]] = {
    "three gigabytes of zeros": (
        [Entry("m/data.pkl", b"\x80\x02}."), Entry("m/data/0", deflated_zeros(3_072), method=8, claimed=3 << 30)],
        "m/data/0 is compressed",
    ),
    "a deflated index": (
        [Entry("m/data.pkl", deflated_zeros(1), method=8, claimed=1 << 20)],
        "m/data.pkl is compressed",
    ),
    "another method": ([Entry("m/data.pkl", b"x", method=12, claimed=1 << 31)], "m/data.pkl is compressed"),
    "claims of four gigabytes": (
        [Entry("m/data.pkl", b"\x80\x02}.", claimed=0xFFFF_FFF0)],
        "m/data.pkl claims 4,294,967,280 bytes",
    ),
    "entries in each other": (
        [Entry("m/data.pkl", bytes(2_000)), *(Entry(f"m/data/{n}", bytes(2_000), at=n) for n in range(1, 9))],
        "overlap in the zip, as in a zip bomb",
    ),
    "encrypted": ([Entry("m/data.pkl", b"\x80\x02}.", flags=1)], "m/data.pkl is encrypted"),
    "absolute name": ([Entry("/etc/passwd"), Entry("m/data.pkl")], "the zip holds '/etc/passwd'"),
    "name that climbs": ([Entry("m/../../x"), Entry("m/data.pkl")], "the zip holds 'm/../../x'"),
    "name of Windows": ([Entry("m\\x"), Entry("m/data.pkl")], "the zip holds 'm\\\\x'"),
    "name with a line break": ([Entry("m/a\nb"), Entry("m/data.pkl")], "the zip holds 'm/a\\nb'"),
    "an entry twice": ([Entry("m/data.pkl", b"a"), Entry("m/data.pkl", b"b")], "an entry stands twice"),
    "two indices": ([Entry("m/data.pkl"), Entry("n/data.pkl")], "2 data.pkl"),
    "no index": ([Entry("m/version", b"3")], "is a zip, but not as torch.save writes it: no data.pkl among m/version"),
    "index in a folder of a folder": ([Entry("m/n/data.pkl")], "is a zip, but not as torch.save writes it"),
    "entries beside": ([Entry("m/data.pkl"), Entry("n/x")], "the zip holds n/x outside m/"),
    "TorchScript": (
        [Entry("m/data.pkl"), Entry("m/code/__torch__.py", b"import os")],
        "is a TorchScript program with code of its own; nothing of it was executed",
    ),
    "an .npz": ([Entry("mean.npy", b"x")], "is an .npz of numpy, not a model"),
    "big-endian": ([Entry("m/data.pkl"), Entry("m/byteorder", b"big")], "its byte order is b'big'"),
    "too many entries": (
        [Entry(f"m/{number}") for number in range(MAX_ENTRIES + 1)],
        f"more than {MAX_ENTRIES:,} entries in the zip",
    ),
}


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("name", ZIPS)
def test_zip_that_torch_never_writes_is_refused_before_it_is_unpacked(tmp_path: Path, name: str) -> None:
    entries, told = ZIPS[name]
    path = write_zip(tmp_path / "model.pt", entries)
    with pytest.raises(BundleError) as refusal:
        read_legacy(path)
    assert told in str(refusal.value)


def test_file_of_many_megabytes_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    with path.open("wb") as stream:
        stream.truncate(1 << 34)  # a hole: it takes no room on the disk
    with pytest.raises(BundleError, match=r"has 17,179,869,184 bytes \(at most 67,108,864 allowed\)"):
        read_legacy(path)
