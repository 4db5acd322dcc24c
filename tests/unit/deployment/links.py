"""Links to a host whose program runs in this process: fast, and able to answer or to break as a test likes."""

import contextlib
import io
import json
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from models_lib.deployment.host_link import Answer, LocalLink, OnLine
from models_lib.errors import TransientError
from models_lib.host.command_line import main
from tests.bundles import walk_candles

Change = Callable[[dict[str, Any]], object]


class InProcessLink(LocalLink):
    """A `HostLink` to this machine; the host's own code answers, without a process of its own.

    Args:
        change_state: changes what the host says about itself, as another version of it, or a fuller one, would.
    """

    def __init__(self, change_state: Change | None = None) -> None:
        self._change_state = change_state
        self.asked: list[str] = []

    def run(
        self,
        arguments: Sequence[str],
        *,
        input: bytes = b"",  # noqa: A002  as subprocess calls it
        timeout_seconds: float,
        on_line: OnLine | None = None,
    ) -> Answer:
        words = list(arguments)[list(arguments).index("host") + 1 :]
        self.asked.append(words[2])
        out, err = io.StringIO(), io.StringIO()
        earlier = signal.getsignal(signal.SIGHUP)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main(
                words,
                version="7.1",
                newest_candles=lambda bundle, minutes: walk_candles(),
                stdin=io.BytesIO(input),
            )
        signal.signal(signal.SIGHUP, earlier)
        said = [self._changed(line) for line in out.getvalue().splitlines()]
        for line in said:
            if on_line is not None:
                on_line(line)
        return Answer(status, b"\n".join(said), err.getvalue().encode())

    def _changed(self, line: str) -> bytes:
        tree = json.loads(line)
        if "state" in tree and self._change_state is not None:
            self._change_state(tree["state"])
        return json.dumps(tree).encode()


@dataclass
class Breaking:
    """Opens links of which the named commands break.

    Attributes:
        before: so many times a command breaks before it began, by its name.
        after: so many times it comes to its end, and nobody hears of it.
        links: every link that was opened.
    """

    before: dict[str, int] = field(default_factory=dict)
    after: dict[str, int] = field(default_factory=dict)
    links: list[InProcessLink] = field(default_factory=list)

    def __call__(self) -> InProcessLink:
        link = _BreakingLink(self)
        self.links.append(link)
        return link

    @property
    def asked(self) -> list[str]:
        """What began on the host, in order."""
        return [command for link in self.links for command in link.asked]


class _BreakingLink(InProcessLink):
    def __init__(self, plan: Breaking) -> None:
        super().__init__()
        self._plan = plan

    def run(self, arguments: Sequence[str], **how: Any) -> Answer:
        command = list(arguments)[list(arguments).index("host") + 3]
        self._break(self._plan.before, command)
        answer = super().run(arguments, **how)
        self._break(self._plan.after, command)
        return answer

    @staticmethod
    def _break(times: dict[str, int], command: str) -> None:
        if times.get(command, 0):
            times[command] -= 1
            raise TransientError("this machine: the connection was lost.")


class NoLink(LocalLink):
    """A host that is away."""

    def run(self, arguments: Sequence[str], **how: Any) -> Answer:
        raise TransientError("deploy@10.0.0.5:22 does not answer (no route to host). Try again.")

    def send(self, folder: Path, destination: PurePosixPath, *, timeout_seconds: float) -> None:
        raise AssertionError(folder)
