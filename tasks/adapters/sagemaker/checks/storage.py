"""The bucket: is it there, and may the caller write to it?

What does not belong here: its region (account.py), and what the role may do with it (role.py).
"""

import secrets
from collections.abc import Iterator

from botocore.exceptions import ClientError

from models_lib.preflight import Finding
from tasks.adapters.aws.faults import code_of, is_denied, words_of
from tasks.adapters.sagemaker.checks.asking import Inquiry, bucket_of, failed, passed, prefix_of, unknown


def bucket(inquiry: Inquiry) -> Iterator[Finding]:
    """Whether the caller can write below training.sagemaker.uri, shown by writing and removing a probe."""
    uri, client = inquiry.uri, inquiry.aws.client("s3")
    name, key = bucket_of(uri), f"{prefix_of(uri)}preflight/{secrets.token_hex(8)}"
    # Asked first: some endpoints make a bucket that somebody writes to.
    try:
        client.head_bucket(Bucket=name)
    except ClientError as error:
        if code_of(error) in {"404", "NoSuchBucket", "NotFound"}:
            remedy = f"Make it in {inquiry.region}, or correct training.sagemaker.uri."
            yield failed("bucket", f"{uri}: there is no bucket {name}.", remedy)
            return
        if not is_denied(error):
            raise
    try:
        client.put_object(Bucket=name, Key=key, Body=b"may be removed\n")
    except ClientError as error:
        if not is_denied(error):
            raise
        fact = f"{uri}: the caller may not write there ({words_of(error)})."
        yield failed("bucket", fact, f"Allow s3:PutObject on {uri}/* in the caller's policy, or choose another bucket.")
        return
    try:
        client.delete_object(Bucket=name, Key=key)
    except ClientError as error:
        if not is_denied(error):
            raise
        fact = f"{uri}: the caller may write but not remove; the probe {key} stays there ({words_of(error)})."
        yield unknown("bucket", fact, f"Allow s3:DeleteObject on {uri}/*, or remove what is old by a lifecycle rule.")
        return
    yield passed("bucket", f"{uri}: wrote and removed a probe")
