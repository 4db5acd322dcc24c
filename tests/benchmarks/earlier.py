"""What was measured now beside an earlier run of `make bench`, so that a regression shows.

Not here: goals. A figure that became slower may still reach its goal, and the other way round.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MORE = 1.25
"""Times as much as before is pointed out: two runs on one machine with neighbours differ by a fifth."""
_LEAST = 0.1  # seconds or MB; below, a step is all noise


@dataclass(frozen=True)
class Change:
    """Seconds or megabytes of one figure, then and now."""

    name: str
    then: float
    now: float

    @property
    def ratio(self) -> float:
        """Now / then."""
        return self.now / self.then

    @property
    def is_more(self) -> bool:
        """Whether it is worth a look."""
        return self.ratio >= MORE and self.now - self.then >= _LEAST

    def told(self) -> str:
        """One line for people."""
        mark = "  MORE THAN BEFORE" if self.is_more else ""
        return f"  {self.ratio:6.2f}x  {self.then:10.3f} -> {self.now:10.3f}  {self.name}{mark}"


def read(path: Path) -> dict[str, Any]:
    """What an earlier `make bench` wrote.

    Raises:
        ValueError: it is no such file.
    """
    with contextlib.suppress(json.JSONDecodeError, UnicodeDecodeError):  # no JSON: refused below, as any other file
        match json.loads(path.read_text()):
            case {"measured_at": str(), "measured": {}} as told:
                return told
    raise ValueError(f"{path} is not what `make bench` writes with --json. Name a file that it wrote.")


def changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
    """Every figure in seconds or megabytes that both measured, in the order of now."""
    before = dict(figures(then))
    return [Change(name, before[name], figure) for name, figure in figures(now) if before.get(name)]


def figures(measured: Mapping[str, Any], above: str = "", *, counts: bool = False) -> Iterator[tuple[str, float]]:
    """Name and value of every number that is, or lies under, `...seconds` or `..._mb`."""
    for key, value in measured.items():
        name, counted = f"{above} / {key}" if above else key, counts or key.endswith(("seconds", "_mb"))
        if isinstance(value, Mapping):
            yield from figures(value, name, counts=counted)
        elif counted and isinstance(value, (int, float)):
            yield name, float(value)


def tell(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Prints every change; whether the two were measured alike comes first."""
    print(f"beside {earlier['measured_at']}:")
    for what in ("machine", "tiny", "candles"):
        if earlier.get(what) != now.get(what):
            print(f"  another {what} then ({earlier.get(what)}, now {now.get(what)}): the ratios say little")
    found = changes(earlier["measured"], now["measured"])
    for change in found:
        print(change.told())
    print(f"  {sum(change.is_more for change in found)} of {len(found)} at least {MORE}x as much as then")
