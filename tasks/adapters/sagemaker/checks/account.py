"""Who asks, and whether bucket, image and job are in one region.

What does not belong here: what a bucket or an image is good for (storage.py, image.py).
"""

from collections.abc import Iterator
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from models_lib.errors import ConfigError, TransientError, excerpt
from models_lib.preflight import Finding
from tasks.adapters.aws.faults import translated
from tasks.adapters.sagemaker.checks.asking import Inquiry, bucket_of, failed, passed, unknown

_CREDENTIALS = "Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or renew the session."


def credentials(inquiry: Inquiry) -> Iterator[Finding]:
    """Whether AWS knows the caller, and as whom. Nobody is forbidden to ask this: unknown means that AWS is away."""
    try:
        with translated("credentials"):
            caller = inquiry.aws.client("sts").get_caller_identity()
    except TransientError as error:
        yield unknown("credentials", f"AWS does not answer ({excerpt(error.__cause__)}).", "Try again later.")
    except ConfigError as error:
        yield failed("credentials", f"AWS does not take them ({excerpt(error.__cause__ or error)}).", _CREDENTIALS)
    else:
        yield passed("credentials", f"account {caller['Account']}, {caller['Arn']}")


def region(inquiry: Inquiry) -> Iterator[Finding]:
    """Whether buckets and image are in the region of the jobs. There are no defaults: a wrong region costs hours."""
    found = {f"bucket {name}": _region_of_bucket(inquiry, name) for name in _buckets(inquiry)}
    if inquiry.image is not None:
        found["the image"] = inquiry.image.region
    fact = f"jobs in {inquiry.region}, {', '.join(f'{what} in {where}' for what, where in found.items())}"
    fact = fact.replace("in None", "in a region that nobody names")
    elsewhere = [what for what, where in found.items() if where not in (None, inquiry.region)]
    unsaid = [what for what, where in found.items() if where is None]
    if elsewhere:
        remedy = f"Set aws.region to the region of {' and '.join(elsewhere)}, or name others in {inquiry.region}."
        yield failed("region", f"{fact}; they must be one.", remedy)
    elif unsaid:
        yield unknown("region", fact, f"See for yourself that {' and '.join(unsaid)} is in {inquiry.region}.")
    else:
        yield passed("region", fact)


def _buckets(inquiry: Inquiry) -> list[str]:
    """Every bucket that is used, once."""
    storage = inquiry.config.storage
    kept = storage.uri if "s3" in (storage.kind, storage.results) else None
    return list(dict.fromkeys(bucket_of(uri) for uri in (inquiry.uri, inquiry.data.uri, kept) if uri is not None))


def _region_of_bucket(inquiry: Inquiry, bucket: str) -> str | None:
    """AWS names it in every answer about a bucket, also in refusals; other endpoints may not."""
    client = inquiry.aws.client("s3")
    try:
        answer: dict[str, Any] = client.head_bucket(Bucket=bucket)
    except ClientError as error:
        answer = dict(error.response)
    named = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("x-amz-bucket-region")
    if named:
        return str(named)
    try:
        located = client.get_bucket_location(Bucket=bucket).get("LocationConstraint")
    except (ClientError, BotoCoreError):
        return None
    return {"EU": "eu-west-1"}.get(located, located) or None
