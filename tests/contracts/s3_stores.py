"""Stores in a bucket of the real server, and looks behind them."""

import json
from pathlib import Path
from typing import Any

from tasks.adapters.aws.clients import Aws
from tasks.adapters.s3.objects import S3Folder
from tasks.adapters.s3.store import S3Store
from tests.aws.weed import REGION

PREFIX = "models/btc"


def s3_store(bucket: str, home: Path) -> S3Store:
    return S3Store(S3Folder(Aws(REGION), f"s3://{bucket}/{PREFIX}"), home)


def keys(client: Any, bucket: str, below: str = "") -> list[str]:
    """All keys of the store that begin so, without the prefix of the store."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{PREFIX}/{below}")
    found = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
    return [key.removeprefix(f"{PREFIX}/") for key in found]


def damage_in_s3(client: Any, bucket: str, bundle: str, path: str, content: bytes) -> None:
    marker = client.get_object(Bucket=bucket, Key=f"{PREFIX}/kept/{bundle}.json")["Body"].read()
    key = f"{PREFIX}/bundles/{bundle}/{json.loads(marker)['folder']}/{path}"
    client.put_object(Bucket=bucket, Key=key, Body=content)
