"""The pickle inside a torch file, walked opcode by opcode without executing anything: what it would make, and of what.

An allow-list of names alone is no boundary: an allowed constructor can still be asked for 10**12 numbers, a codec can
double its argument forty times, a state can hide a call. So every call is looked at with its arguments, and only those
that torch.save writes for tensors, numbers, arrays, texts and a StandardScaler pass. What passes is bounded by the size
of the file.

What does not belong here: reading the values (torch_file.py).
"""

import pickletools
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from models_lib.errors import LONGEST_EXCERPT, BundleError, excerpt
from models_lib.legacy.stand_ins import (
    ALLOWED,
    CALLS,
    SCALER_NAMES,
    STATES,
    STORAGE_BYTES,
    TEXT,
    Global,
    Made,
    Storage,
    dotted,
    told,
)

MAX_OPCODES = 1_000_000
"""A V8 with its optimiser's state has 5,000; a history of the loss a batch, some ten thousand more."""
MAX_MADE_BYTES = 64 << 20
_NOTHING_RAN = "nothing of it was executed"


class _Mark:
    """Where a tuple or a list of items begins on the stack."""


class _RefusedError(Exception):
    """Why the pickle is not read, without the file's name."""


def check_outline(index: bytes, storages: Mapping[str, int], *, subject: str) -> None:
    """Returns when reading the pickle can only make tensors, numbers, arrays, texts, containers and a StandardScaler.

    Args:
        index: the content of data.pkl.
        storages: how many bytes each data/<key> holds.
        subject: the file, for messages.

    Raises:
        BundleError: it asks for anything else, or is damaged.
    """
    walk = _Walk(storages)
    try:
        for opcode, argument in _opcodes(index):
            walk.step(opcode, argument)
    except _RefusedError as refused:
        raise BundleError(f"{subject} {refused}") from refused
    except (ValueError, LookupError, TypeError, OverflowError, struct.error) as error:
        raise BundleError(
            f"{subject}: its index (data.pkl) is damaged ({excerpt(error)}); nothing of it was executed. Copy it again."
        ) from error
    if not walk.gives_dictionary:
        raise BundleError(f"{subject} holds no dictionary of tensors. Write the state: model.state_dict().")


def _opcodes(index: bytes) -> Iterator[tuple[str, Any]]:
    """The name of each step and its argument."""
    for number, (opcode, argument, _) in enumerate(pickletools.genops(index)):
        if number == MAX_OPCODES:
            raise _RefusedError(f"has more than {MAX_OPCODES:,} steps in its index, as no model has. Do not use it.")
        yield opcode.name, argument


class _Walk:
    """The stack machine of a pickle, over stand-ins for what the real one would make."""

    def __init__(self, storages: Mapping[str, int]) -> None:
        self._storages = storages
        self._typed: dict[str, tuple[str, int]] = {}
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._made_bytes = 0

    @property
    def gives_dictionary(self) -> bool:
        """Whether the pickle ended with one dictionary."""
        return len(self._stack) == 1 and type(self._stack[0]) is dict

    def step(self, opcode: str, argument: Any) -> None:
        """Does one opcode to the stand-ins.

        Raises:
            _RefusedError: torch.save does not write this for a model.
        """
        if opcode in _CONSTANTS:
            self._stack.append(_CONSTANTS[opcode](argument))
        elif opcode in ("GLOBAL", "INST"):
            self._stack.append(_checked_global(argument))
        elif opcode in ("BINGET", "LONG_BINGET"):
            self._stack.append(self._memo[argument])
        elif opcode in ("BINPUT", "LONG_BINPUT"):
            self._memo[argument] = self._stack[-1]
        elif opcode in _TUPLES:
            count = _TUPLES[opcode]
            self._stack[len(self._stack) - count :] = [tuple(self._popped(count))]
        elif opcode in _STEPS:
            _STEPS[opcode](self)
        elif opcode != "STOP" and (opcode, argument) != ("PROTO", 2):
            which = f"pickle protocol {argument}" if opcode == "PROTO" else f"the pickle step {opcode}"
            raise _RefusedError(
                f"uses {which}, which torch.save does not write by itself; nothing of it was executed. On the machine "
                f"where it was made, write it anew with torch.save and no pickle_protocol."
            )

    def _popped(self, count: int) -> list[Any]:
        if len(self._stack) < count:
            raise IndexError("the stack is empty")
        return self._stack[len(self._stack) - count :]

    def since_mark(self) -> list[Any]:
        """The items since the last mark; they and the mark are taken off the stack."""
        items: list[Any] = []
        while not isinstance(item := self._stack.pop(), _Mark):
            items.append(item)
        return items[::-1]

    def make_tuple(self) -> None:
        self._stack.append(tuple(self.since_mark()))

    def append_one(self) -> None:
        self._extend([self._stack.pop()])

    def append_all(self) -> None:
        self._extend(self.since_mark())

    def _extend(self, items: list[Any]) -> None:
        if type(self._stack[-1]) is not list:
            raise TypeError("an item for what is no list")
        self._stack[-1].extend(items)

    def set_one(self) -> None:
        value = self._stack.pop()
        self._set([self._stack.pop(), value])

    def set_all(self) -> None:
        self._set(self.since_mark())

    def _set(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not dict or len(items) % 2:
            raise TypeError("an item for what is no dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not _is_key(key):
                raise _RefusedError(f"has a {told(key)} as the key of a dictionary, as no model has. Do not use it.")
            target[key] = value

    def stored(self) -> None:
        """A persistent id: the numbers of one data/<key>."""
        match self._stack.pop():
            case ("storage", Global(name), str(key), str(), int(numel)) if name in STORAGE_BYTES:
                held = self._storages.get(key)
                if held is None or numel < 0 or numel * STORAGE_BYTES[name] != held:
                    raise _RefusedError(
                        f"says that data/{key} holds {numel:,} numbers of {STORAGE_BYTES[name]} bytes; it holds "
                        f"{'nothing' if held is None else f'{held:,} bytes'}. It is truncated or forged: copy it again."
                    )
                if self._typed.setdefault(key, (name, numel)) != (name, numel):
                    raise _RefusedError(f"reads data/{key} as two kinds of numbers, as torch.save never does.")
                self._stack.append(Storage(numel))
            case other:
                raise _RefusedError(
                    f"asks for {told(other)} as stored numbers, as torch.save never does. Do not use it."
                )

    def call(self) -> None:
        """REDUCE: a name called with arguments."""
        arguments = self._stack.pop()
        function = self._stack.pop()
        if not isinstance(function, Global) or function.name not in CALLS or type(arguments) is not tuple:
            raise _RefusedError(f"calls {told(function)} when it is read, as no model does; {_NOTHING_RAN}.")
        made = CALLS[function.name](*arguments)
        if made is None:
            raise _RefusedError(
                f"calls {dotted(function.name)} in a way in which torch.save never does ({_NOTHING_RAN}): "
                f"{told(arguments)}. Do not use it."
            )
        if type(made) is bytes:
            self._count_made(len(made))
        self._stack.append(made)

    def new_object(self) -> None:
        """NEWOBJ: a class without arguments."""
        arguments = self._stack.pop()
        cls = self._stack.pop()
        if not isinstance(cls, Global) or cls.name not in SCALER_NAMES or arguments != ():
            raise _RefusedError(f"makes a {told(cls)} when it is read, as no model does; {_NOTHING_RAN}.")
        self._stack.append(Made("scaler"))

    def build(self) -> None:
        """BUILD: an object is given its state."""
        state = self._stack.pop()
        target = self._stack[-1]
        kind = target.kind if isinstance(target, Made) else type(target).__name__
        if kind not in STATES or not STATES[kind](target, state):
            raise _RefusedError(
                f"gives {told(target)} a state that torch.save never writes ({_NOTHING_RAN}): {told(state)}. "
                f"Do not use it."
            )
        if kind == "array":
            self._count_made(len(state[-1]) * (8 if target.code == TEXT else 1))

    def _count_made(self, num_bytes: int) -> None:
        """One text in the file can be turned into bytes and arrays a million times: all of them together are bounded."""
        self._made_bytes += num_bytes
        if self._made_bytes > MAX_MADE_BYTES:
            raise _RefusedError(
                f"would make more than {MAX_MADE_BYTES:,} bytes of arrays when it is read, as no model does; {_NOTHING_RAN}."
            )


def _is_key(key: Any) -> bool:
    """A number, or a name that messages and pages can show; the hash of a tuple of tuples can take for ever."""
    return type(key) is int or (type(key) is str and len(key) <= LONGEST_EXCERPT and key.isprintable())


def _checked_global(argument: str) -> Global:
    if argument in ALLOWED:
        return Global(argument)
    raise _RefusedError(
        f"asks for {dotted(argument)} when it is read; {_NOTHING_RAN}. Do not use it; if it is your own, write the state "
        f"alone on the machine where it was made: torch.save(model.state_dict(), 'new.pt')."
    )


_CONSTANTS: Mapping[str, Callable[[Any], Any]] = {
    "NONE": lambda _: None,
    "NEWTRUE": lambda _: True,
    "NEWFALSE": lambda _: False,
    "EMPTY_DICT": lambda _: {},
    "EMPTY_LIST": lambda _: [],
    "EMPTY_TUPLE": lambda _: (),
    "MARK": lambda _: _Mark(),
} | dict.fromkeys(("BININT", "BININT1", "BININT2", "BINFLOAT", "BINUNICODE", "LONG1"), lambda argument: argument)
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_STEPS: Mapping[str, Callable[[_Walk], None]] = {
    "TUPLE": _Walk.make_tuple,
    "APPEND": _Walk.append_one,
    "APPENDS": _Walk.append_all,
    "SETITEM": _Walk.set_one,
    "SETITEMS": _Walk.set_all,
    "BINPERSID": _Walk.stored,
    "REDUCE": _Walk.call,
    "NEWOBJ": _Walk.new_object,
    "BUILD": _Walk.build,
}
