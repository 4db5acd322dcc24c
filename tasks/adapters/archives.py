"""The archive of candles of the configured exchange: where it lies, and what of it lies on this machine.

What does not belong here: what an archive is (models_lib.candles.archive), and the asking (exchange/).
"""

from pathlib import Path

from models_lib.candles.archive.archive import CandleArchive
from models_lib.candles.archive.places import ArchivePlace, LocalPlace
from models_lib.config import RunConfig


def open_archive(config: RunConfig, *, home: Path) -> CandleArchive:
    """The archive that `data.path` or `data.uri` name for the source `exchange`, else the one in the home.

    Args:
        config: with the sections `data`, `exchange` and, for a bucket, `aws`.
        home: the state folder; what is not settled yet, and copies of what lies in a bucket, are in it.
    """
    return CandleArchive(_place(config, home), candles_home(home) / "staging")


def candles_home(home: Path) -> Path:
    """What this machine keeps about candles that are fetched."""
    return home / "candles"


def _place(config: RunConfig, home: Path) -> ArchivePlace:
    own = candles_home(home) / config.exchange.name
    data = config.data
    if data.source != "exchange":
        return LocalPlace(own)
    if data.uri is None:
        return LocalPlace(data.path or own)
    from tasks.adapters.aws.clients import Aws  # noqa: PLC0415 - boto3 only where it is used
    from tasks.adapters.s3.archive import S3Place  # noqa: PLC0415
    from tasks.adapters.s3.objects import S3Folder  # noqa: PLC0415

    return S3Place(S3Folder(Aws.of(config.aws), data.uri), copies=candles_home(home) / "months")
