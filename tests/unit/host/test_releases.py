"""Which releases of a symbol stay."""

import os
from pathlib import Path

import pytest

from models_lib.host.releases import Releases


@pytest.mark.parametrize("at_least", [2, 3, 5])
@pytest.mark.parametrize("before", ["5", None], ids=["with one before", "the first"])
def test_as_many_stay_as_are_to_be_kept_the_newest_of_them(tmp_path: Path, at_least: int, before: str | None) -> None:
    for age in range(7):
        release = tmp_path / "releases" / "BTC-USD" / str(age)
        release.mkdir(parents=True)
        os.utime(release, (1e9 + age,) * 2)
    Releases(tmp_path).forget_old("BTC-USD", {"6", before, None}, at_least=at_least)
    kept = {path.name for path in (tmp_path / "releases" / "BTC-USD").iterdir()}
    assert kept == {str(age) for age in range(7 - at_least, 7)}
