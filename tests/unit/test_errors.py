"""Errors cross process borders, so each must come back from a pickle as it went in."""

import pickle

import pytest

from models_lib import errors


def every_error(kind: type[errors.CrpbotError]) -> list[type[errors.CrpbotError]]:
    return [kind, *(below for child in kind.__subclasses__() for below in every_error(child))]


ALL = [
    kind
    for kind in every_error(errors.CrpbotError)
    if kind.__module__.split(".")[0] in ("models_lib", "tasks", "flows")
]
MESSAGE = "BTC-USD: 3 of 1,440 minutes are missing (at most 0 allowed). Fetch the window again."


def test_the_tree_is_the_one_that_its_module_draws() -> None:
    drawn = [line.split()[1] for line in (errors.__doc__ or "").splitlines() if line.strip().startswith(("|--", "`--"))]
    assert sorted(drawn) == sorted(kind.__name__ for kind in errors.CrpbotError.__subclasses__())


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_error_survives_pickling(kind: type[errors.CrpbotError], protocol: int) -> None:
    back = pickle.loads(pickle.dumps(kind(MESSAGE), protocol))
    assert type(back) is kind
    assert str(back) == MESSAGE
    assert back.args == (MESSAGE,)


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_error_says_in_its_docstring_what_the_caller_should_do(kind: type[errors.CrpbotError]) -> None:
    assert (kind.__doc__ or "").strip().endswith(".")
