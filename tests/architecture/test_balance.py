"""What tests/balance.py and the Makefile say of the tests is true of them: none is missed for its name."""

import re
from pathlib import Path

import pytest

from tests.balance import FIRST, ROOMS, sharing, turn

TESTS = Path(__file__).parents[1]
TEXTS = {path.relative_to(TESTS.parent).as_posix(): path.read_text() for path in TESTS.rglob("*.py")}
GROUPS = {group for text in TEXTS.values() for group in re.findall(r'xdist_group\("([^"]+)"\)', text)}


@pytest.mark.parametrize("name", [*FIRST, *ROOMS])
def test_group_room_or_module_is_there(name: str) -> None:
    assert name in GROUPS or (TESTS.parent / name).exists()


def test_tests_share_a_worker_by_group_then_room_then_module() -> None:
    assert sharing("tests/unit/steps/test_release.py", "forked") == "forked"
    assert sharing("tests/unit/steps/test_release.py", None) == sharing("tests/unit/steps/test_once.py", None)
    assert sharing("tests/unit/test_files.py", None) == "tests/unit/test_files.py"
    assert turn("tests/flows/test_serving.py", "serving") < turn("tests/unit/steps/test_once.py", None)
    assert turn("tests/unit/steps/test_once.py", None) < turn("tests/unit/test_files.py", None)


def test_long_tests_are_marked_in_their_own_module() -> None:
    """`make test-long` reads only the test modules in which the mark stands."""
    others = [name for name in TEXTS if not Path(name).name.startswith("test_")]
    assert [name for name in others if "mark.long" in TEXTS[name]] == []
