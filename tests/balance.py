"""Which tests share a worker, and in which order they come: the costly is set up once, and the long begins early.

Of tests in a group (`pytest.mark.xdist_group`) all share one worker, of the others those of a module, and in some rooms all
of the room, because its fixtures are the room's. Otherwise each worker would train, deploy and start servers for itself.

What does not belong here: the groups of single tests, which stand at the tests.
"""

from xdist.scheduler import LoadGroupScheduling

ROOMS = (
    "tests/aws/",
    "tests/unit/bundle/",
    "tests/unit/deployment/",
    "tests/unit/features/",
    "tests/unit/host/",
    "tests/unit/reports/",
    "tests/unit/runtime/",
    "tests/unit/steps/",
)
"""Whose conftest.py prepares something once for all of their modules, or that share the stand-in of AWS."""
FIRST = (
    "serving",
    "stopped",
    "deployment",
    "real",
    "approval",
    "forked",
    "tests/unit/runtime/",
    "tests/unit/studies/test_markets.py",
    "tests/flows/test_fetch_survives.py",
    "prefect",
    "tests/aws/",
    "tests/unit/steps/",
)
"""The longest, in this order; the many short ones behind them fill what the workers have left."""


def sharing(module: str, group: str | None) -> str:
    """The name of what a test shares its worker with.

    Args:
        module: path of its file, from the root of the project.
        group: that it was put into, if any.
    """
    return group or next((room for room in ROOMS if module.startswith(room)), module)


def turn(module: str, group: str | None) -> int:
    """When it comes: the smaller, the earlier."""
    shared = sharing(module, group)
    return FIRST.index(shared) if shared in FIRST else len(FIRST)


class Balance(LoadGroupScheduling):
    """pytest-xdist's `--dist loadgroup` for these tests."""

    def _split_scope(self, nodeid: str) -> str:
        scope = str(super()._split_scope(nodeid))
        return sharing(nodeid.partition("::")[0], scope if scope != nodeid else None)
