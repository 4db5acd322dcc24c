"""What a machine costs now: AWS's Pricing API where it may be asked, else the answer of an earlier day, else the table.

Answers are kept with their day in `cache/prices.json` of the state folder, so that a day asks once.

What does not belong here: the table (tables.py), and what is made of a price (models_lib.costs).
"""

import contextlib
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

from models_lib.costs.prices import Price
from models_lib.errors import ConfigError, TransientError
from models_lib.files import write_json
from tasks.adapters.aws.clients import Aws, ClientError
from tasks.adapters.aws.faults import is_denied, translated
from tasks.adapters.sagemaker.tables import Tables, price_of

PRICING_REGION: Final = "us-east-1"
"""The API of all regions' prices lives there."""
_SOURCE: Final = "AWS Pricing API"
_CACHE: Final = Path("cache") / "prices.json"


def current_price(
    aws: Aws, tables: Tables, instance_type: str, region: str, *, home: Path, now: datetime
) -> Price | None:
    """What a machine costs in a region: the newest that is known, asked for when that is not of today.

    Args:
        aws: asked at most once a day.
        tables: what is known when nobody answers.
        instance_type: the machine.
        region: where it runs.
        home: the state folder, which keeps the answers.
        now: aware.

    Raises:
        TransientError: nobody answers, and no price is known.
        ConfigError: AWS takes no credentials, and no price is known.
    """
    known = price_of(tables, instance_type, region)
    try:
        told = refresh_price(aws, instance_type, region, home=home, now=now)
    except (ConfigError, TransientError):
        if known is None:
            raise
        return known
    if told is None or known is None:
        return told or known
    return max(told, known, key=lambda price: price.as_of)  # of the same day: what AWS says


def refresh_price(aws: Aws, instance_type: str, region: str, *, home: Path, now: datetime) -> Price | None:
    """AWS's own price, of today where AWS may be asked, else of an earlier day; None: the caller may not ask, or AWS has none.

    Raises:
        TransientError: nobody answers, and no price was kept.
        ConfigError: AWS takes no credentials, and no price was kept.
    """
    today, path = now.astimezone(UTC).date(), home / _CACHE
    known = _read(path)
    key = f"{region} {instance_type}"
    kept = _kept(known.get(key))
    if kept is not None and kept.as_of >= today:
        return kept
    try:
        asked = _asked(aws, instance_type, region)
    except (ConfigError, TransientError):
        if kept is None:
            raise
        return kept
    if asked is None:
        return kept
    with contextlib.suppress(OSError):  # a price that cannot be kept is asked for again
        write_json(path, known | {key: {"usd_per_hour": asked, "as_of": str(today)}})
    return Price(asked, today, _SOURCE)


def _asked(aws: Aws, instance_type: str, region: str) -> float | None:
    wanted = {"instanceName": instance_type, "regionCode": region, "component": "Training"}
    filters = [{"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in wanted.items()]
    with translated("AWS prices"):
        client = aws.client("pricing", region=PRICING_REGION)
        pages = client.get_paginator("get_products").paginate(
            ServiceCode="AmazonSageMaker", Filters=filters, FormatVersion="aws_v1"
        )
        try:
            found = [price for page in pages for product in page["PriceList"] for price in _hourly(json.loads(product))]
        except ClientError as error:
            if is_denied(error):
                return None
            raise
    return max(found, default=None)


def _hourly(product: dict[str, Any]) -> Iterator[float]:
    """The prices an hour on demand that a product of the price list holds."""
    for term in product.get("terms", {}).get("OnDemand", {}).values():
        for dimension in term.get("priceDimensions", {}).values():
            usd = float(dimension.get("pricePerUnit", {}).get("USD", 0.0))
            if usd > 0.0 and str(dimension.get("unit", "")).lower() in {"hrs", "hours", "hour"}:
                yield usd


def _read(path: Path) -> dict[str, Any]:
    """What was kept; nothing where that is no longer readable: AWS and the table still are."""
    try:
        kept = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}


def _kept(entry: Any) -> Price | None:
    try:
        return Price(float(entry["usd_per_hour"]), date.fromisoformat(entry["as_of"]), f"{_SOURCE}, kept")
    except (KeyError, TypeError, ValueError):
        return None
