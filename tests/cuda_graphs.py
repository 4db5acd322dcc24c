"""CUDA's graphs on a machine without CUDA: what torch does is recorded, and done again on the same tensors.

As a real one, a capture leaves everything outside it as it was, and a replay runs no Python: it does the recorded operations
with the recorded arguments, so that whatever changes from step to step without being a tensor at a fixed place stays what it was
when it was captured. Streams are there and do nothing; the order of work is that of the calls.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class RecordedGraph:
    """Stands in for torch.cuda.CUDAGraph."""

    def __init__(self) -> None:
        self.operations: list[tuple[Any, tuple[Any, ...], dict[str, Any], list[Tensor]]] = []

    def replay(self) -> None:
        """Does what was recorded; results go to where they were."""
        with torch.no_grad():
            for operation, args, kwargs, results in self.operations:
                for place, result in zip(results, tensors(operation(*args, **kwargs)), strict=True):
                    if place is not result and not same_memory(place, result):
                        place.copy_(result)


class Recorder(TorchDispatchMode):
    """Records what runs within, and afterwards puts back what it changed outside."""

    def __init__(self, graph: RecordedGraph) -> None:
        super().__init__()
        self._graph = graph
        self._made: set[int] = set()
        self._before: dict[int, tuple[Tensor, Tensor]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        for given in tensors((args, kwargs)):
            if memory(given) not in self._made and memory(given) not in self._before:
                self._before[memory(given)] = (given, given.clone())
        result = func(*args, **kwargs)
        self._made |= {memory(made) for made in tensors(result)} - self._before.keys()
        self._graph.operations.append((func, args, kwargs, tensors(result)))
        return result

    def put_back(self) -> None:
        """What lay outside is as it was before the capture."""
        with torch.no_grad():
            for tensor, before in self._before.values():
                tensor.copy_(before)


def tensors(values: Any) -> list[Tensor]:
    """Those among the values, in order."""
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


def memory(tensor: Tensor) -> int:
    """Where it lies; recorded operations keep it there."""
    return tensor.untyped_storage().data_ptr()


def same_memory(one: Tensor, other: Tensor) -> bool:
    """Whether one is the other, or a view of it."""
    return memory(one) == memory(other)


class Stream:
    """Stands in for torch.cuda.Stream."""

    def __init__(self, device: torch.device | None = None) -> None:
        self.device = device

    def wait_stream(self, other: "Stream") -> None:
        """Nothing to wait for."""


class Graphs:
    """What was captured, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.captured: list[RecordedGraph] = []
        for name, stand_in in {
            "CUDAGraph": RecordedGraph,
            "graph": self._capture,
            "Stream": Stream,
            "current_stream": Stream,
            "stream": contextlib.nullcontext,
        }.items():
            monkeypatch.setattr(torch.cuda, name, stand_in)

    @contextlib.contextmanager
    def _capture(self, graph: RecordedGraph, *, stream: Stream) -> Iterator[None]:
        recorder = Recorder(graph)
        with recorder:
            yield
        recorder.put_back()
        self.captured.append(graph)
