"""One true bundle, made once; each test takes its own copy."""

import shutil
from pathlib import Path

import pytest

from tests.bundles import write_judged


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound, judged bundle that no test may change."""
    folder = tmp_path_factory.mktemp("pristine") / "candidate"
    write_judged(folder)
    return folder


@pytest.fixture
def bundle(pristine: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    folder = tmp_path / "candidate"
    shutil.copytree(pristine, folder)
    return folder
