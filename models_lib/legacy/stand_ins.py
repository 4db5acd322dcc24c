"""What a pickle would make, as stand-ins: which names it may ask for, with which arguments, and with which state.

The rules of the walk in outline.py, one for each constructor that torch.save writes for tensors, numbers, arrays, texts
and a StandardScaler. A rule answers with the stand-in, or with None when the arguments are not those.

What does not belong here: the steps of the pickle (outline.py), and the true constructors (torch_file.py).
"""

import math
from _compat_pickle import IMPORT_MAPPING
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from models_lib.errors import excerpt

MAX_DIMENSIONS = 8

SCALER_NAMES = frozenset(
    {"sklearn.preprocessing._data StandardScaler", "sklearn.preprocessing.data StandardScaler"}  # now, before 0.22
)
RECONSTRUCT_NAMES = frozenset({"numpy._core.multiarray _reconstruct", "numpy.core.multiarray _reconstruct"})  # 2, 1
SCALAR_NAMES = frozenset({"numpy._core.multiarray scalar", "numpy.core.multiarray scalar"})
STORAGE_BYTES: Mapping[str, int] = {
    "torch DoubleStorage": 8,
    "torch FloatStorage": 4,
    "torch HalfStorage": 2,
    "torch BFloat16Storage": 2,
    "torch LongStorage": 8,
    "torch IntStorage": 4,
    "torch ShortStorage": 2,
    "torch CharStorage": 1,
    "torch ByteStorage": 1,
    "torch BoolStorage": 1,
}
NUMBER_BYTES: Mapping[str, int] = {
    f"{kind}{size}": size
    for kind, sizes in {"f": (2, 4, 8), "i": (1, 2, 4, 8), "u": (1, 2, 4, 8)}.items()
    for size in sizes
} | {"b1": 1}
TEXT = "O8"


@dataclass(frozen=True)
class Global:
    """A name that the pickle asks for, module and name with a space between."""

    name: str


@dataclass(frozen=True, eq=False)
class Storage:
    """The numbers of one data/<key>."""

    numel: int


@dataclass(eq=False)
class Made:
    """What a call or a class would give: an array, a dtype, a tensor, a scaler."""

    kind: str
    code: str = ""


def dotted(name: str) -> str:
    """The name as a person writes it; Python 2 had other names for a few modules."""
    module, _, attribute = name.partition(" ")
    return excerpt(f"{IMPORT_MAPPING.get(module, module)}.{attribute}")


def told(value: Any) -> str:
    """What a stand-in is, in few words; it is never shown whole: it may hold itself."""
    match value:
        case Global(name):
            return dotted(name)
        case Made(kind, code):
            return f"{kind} {code}".strip()
        case None | bool() | int() | float():
            return repr(value)[:60]
        case str() | bytes():
            return f"{type(value).__name__} of {len(value):,}"
        case tuple():
            return f"({', '.join(told(item) if type(item) is not tuple else '(...)' for item in value[:6])})"
        case _:
            return type(value).__name__.strip("_").lower()


def _is_shape(value: Any) -> bool:
    return (
        type(value) is tuple
        and len(value) <= MAX_DIMENSIONS
        and all(type(length) is int and 0 <= length < 2**40 for length in value)
    )


def _tensor(*arguments: Any) -> Made | None:
    """`_rebuild_tensor_v2`: all its numbers lie in the storage, none of them twice."""
    match arguments:
        case (Storage(numel), int(offset), size, stride, bool(), dict()):
            if not (_is_shape(size) and _is_shape(stride) and len(size) == len(stride) and 0 <= offset <= numel):
                return None
            last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
            fits = math.prod(size) == 0 or (last < numel and math.prod(size) <= numel)
            return Made("tensor") if fits else None
    return None


def _parameter(*arguments: Any) -> Made | None:
    match arguments:
        case (Made("tensor") as tensor, bool(), dict()):
            return tensor
    return None


def _ordered_dict(*arguments: Any) -> dict[Any, Any] | None:
    return None if arguments else {}


def _bytes(*arguments: Any) -> bytes | None:
    """`_codecs.encode`, with which bytes are written: with other codecs it could double them."""
    match arguments:
        case (str(text), "latin1"):
            return text.encode("latin1")
    return None


def _dtype(*arguments: Any) -> Made | None:
    match arguments:
        case (str(code), False | 0, True | 1) if code in NUMBER_BYTES or code == TEXT:
            return Made("dtype", code)
    return None


def _empty_array(*arguments: Any) -> Made | None:
    match arguments:
        case (Global("numpy ndarray"), (0,), b"b"):
            return Made("array")
    return None


def _scalar(*arguments: Any) -> Made | None:
    match arguments:
        case (Made("dtype", code), bytes(content)) if len(content) == NUMBER_BYTES.get(code):
            return Made("number")
    return None


def _device(*arguments: Any) -> Made | None:
    match arguments:
        case (str(),) | (str(), int()):
            return Made("device")
    return None


def _size(*arguments: Any) -> Made | None:
    return Made("size") if len(arguments) == 1 and _is_shape(arguments[0]) else None


def _is_dtype_state(target: Made, state: Any) -> bool:
    flags = 63 if target.code == TEXT else 0  # with other flags numpy would take numbers for pointers
    match state:
        case (3, "<" | "|" | "=", None, None, None, -1, -1, int(given)):
            return given == flags
    return False


def _is_array_state(target: Made, state: Any) -> bool:
    """Numbers whose bytes are as many as the shape says, or texts."""
    match state:
        case (1, shape, Made("dtype", code), bool() | 0 | 1, content) if _is_shape(shape):
            target.code = code
            if code == TEXT:
                return type(content) is list and len(content) == math.prod(shape) and _are_texts(content)
            return type(content) is bytes and len(content) == math.prod(shape) * NUMBER_BYTES[code]
    return False


def _are_texts(items: list[Any]) -> bool:
    return all(type(item) is str for item in items)


def _is_scaler_state(_: Any, state: Any) -> bool:
    return type(state) is dict


def _is_metadata(_: Any, state: Any) -> bool:
    """The one attribute that torch gives a state; others could take the place of its methods."""
    return type(state) is dict and set(state) <= {"_metadata"}


CALLS: Mapping[str, Callable[..., Any]] = {
    "collections OrderedDict": _ordered_dict,
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch._utils _rebuild_parameter": _parameter,
    "torch device": _device,
    "torch Size": _size,
    "_codecs encode": _bytes,
    "numpy dtype": _dtype,
    **dict.fromkeys(RECONSTRUCT_NAMES, _empty_array),
    **dict.fromkeys(SCALAR_NAMES, _scalar),
}
STATES: Mapping[str, Callable[[Any, Any], bool]] = {
    "dict": _is_metadata,
    "scaler": _is_scaler_state,
    "dtype": _is_dtype_state,
    "array": _is_array_state,
}
ALLOWED = frozenset({*CALLS, *STORAGE_BYTES, *SCALER_NAMES, "numpy ndarray"})
