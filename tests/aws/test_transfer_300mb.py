"""A file of candles of 300 MB to a bucket and back: as fast as plain boto3, in flat memory, and whole or not at all."""

import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models_lib.files import sha256_file
from tasks.adapters.aws.clients import Aws
from tasks.adapters.s3.objects import S3Folder
from tests.aws.transfers import transfer
from tests.aws.weed import REGION, Weed
from tests.proxy import Proxy

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]

LARGE_MB, SMALL_MB = 300, 20
LONGEST_SHARE = 1.5
GROWTH_MB = 120
"""Going up, four parts are under way, of 16 MB each, and the client has copies of them."""


@dataclass(frozen=True)
class Child:
    """Transfers in processes of their own: by how many MB each grew."""

    environment: dict[str, str]
    uri: str

    def __call__(self, direction: str, who: str, path: Path, key: str) -> float:
        command = [sys.executable, "-m", "tests.aws.transfers", direction, who, str(path), self.uri, key]
        done = subprocess.run(command, env=os.environ | self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return float(done.stdout)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Parquet files by their size in MB: numbers that do not compress, as prices do not."""
    folder, generator = tmp_path_factory.mktemp("files"), np.random.default_rng(7)
    files = {}
    for megabytes in (SMALL_MB, LARGE_MB):
        rows = megabytes * 1_000_000 // (8 * 5)
        columns = {name: generator.standard_normal(rows) for name in ("open", "high", "low", "close", "volume")}
        files[megabytes] = folder / f"{megabytes}.parquet"
        pq.write_table(pa.table(columns), files[megabytes], compression="zstd", use_dictionary=False)
        assert files[megabytes].stat().st_size >= 0.9 * megabytes * 1_000_000
    return files


@pytest.fixture
def child(weed: Weed, bucket: str) -> Child:
    return Child(weed.environment(), f"s3://{bucket}")


def test_transfers_take_at_most_half_as_long_again_as_plain_boto3(
    bucket: str, files: dict[int, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Plain boto3 with the same parts, threads and checksums on arrival; it does not look at what came down."""
    uri, shares = f"s3://{bucket}", {}
    for direction, path, pairs in (("upload", files[LARGE_MB], 3), ("download", tmp_path / "back.parquet", 9)):
        acts = {who: transfer(direction, who, path, uri, "file.parquet") for who in ("plain", "ours")}
        seconds: dict[str, list[float]] = {who: [] for who in acts}
        for number in range(pairs):
            for who in sorted(acts, reverse=number % 2 == 0):
                begun = time.perf_counter()
                acts[who]()
                seconds[who].append(time.perf_counter() - begun)
        # Of neighbours, as others share the machine and its load changes from one second to the next.
        shares[direction] = statistics.median(
            ours / plain for ours, plain in zip(seconds["ours"], seconds["plain"], strict=True)
        )
        with capsys.disabled():
            for who, measured in seconds.items():
                print(f"\n300 MB {direction:8} {who:5} {', '.join(f'{each:.2f}' for each in measured)} s", end="")
            print(f"\n300 MB {direction:8} ours / plain, median of pairs: {shares[direction]:.2f}")
        if direction == "upload":
            acts["ours"]()  # what is downloaded has our checksum
    assert sha256_file(tmp_path / "back.parquet") == sha256_file(files[LARGE_MB])
    assert all(share <= LONGEST_SHARE for share in shares.values()), shares


@pytest.mark.parametrize("direction", ["upload", "download"])
def test_memory_does_not_grow_with_the_file(
    child: Child, files: dict[int, Path], tmp_path: Path, direction: str, capsys: pytest.CaptureFixture[str]
) -> None:
    grew = {}
    for megabytes, file in files.items():
        key = f"{megabytes}.parquet"
        if direction == "download":
            child("upload", "ours", file, key)
        grew[megabytes] = child(direction, "ours", file if direction == "upload" else tmp_path / key, key)
    with capsys.disabled():
        print(f"\n{direction}: the process grew by", {name: f"{value:.0f} MB" for name, value in grew.items()})
    assert grew[LARGE_MB] <= grew[SMALL_MB] + GROWTH_MB
    assert grew[LARGE_MB] < LARGE_MB / 2


def test_killed_upload_leaves_nothing_and_a_later_one_succeeds(
    weed: Weed, bucket: str, files: dict[int, Path], tmp_path: Path
) -> None:
    folder = S3Folder(Aws(REGION), f"s3://{bucket}")
    command = [sys.executable, "-m", "tests.aws.transfers", "upload", "ours", str(files[LARGE_MB]), folder.uri, "file"]
    with Proxy(weed.port) as proxy:
        proxy.stall_after(100_000_000)
        upload = subprocess.Popen(command, env=os.environ | weed.environment(port=proxy.port))
        try:
            assert proxy.happened.wait(60), "a third of the file is on the way"
        finally:
            upload.kill()
            upload.wait()
    assert folder.head("file") is None
    assert list(folder.names()) == []
    assert len(weed.client().list_multipart_uploads(Bucket=bucket)["Uploads"]) == 1, "it was cut off in the middle"
    assert folder.upload(files[LARGE_MB], "file", if_absent=True)
    folder.download("file", tmp_path / "back.parquet")
    assert sha256_file(tmp_path / "back.parquet") == sha256_file(files[LARGE_MB])
