"""What the contracts of the notifiers share."""

import pytest

from tests.contracts.endpoints import Authority, make_authority


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A certificate authority that nobody trusts at first."""
    return make_authority(tmp_path_factory.mktemp("authority"))
