"""The machine: is there such a kind, and may this account run as many of them as shall run at once?

What does not belong here: its GPU (image.py) and its price (costs.py).
"""

import difflib
from collections.abc import Iterator
from typing import Any, Final

from models_lib.preflight import Finding
from models_lib.steps.summary import symbols_at_once
from tasks.adapters.sagemaker.checks.asking import Inquiry, failed, passed, unknown
from tasks.adapters.sagemaker.names import PREFIX, slug

_LISTED_JOBS: Final = 50
"""Of the running ones at most so many are looked at: each is a request."""


def kind(inquiry: Inquiry) -> Iterator[Finding]:
    """Whether SageMaker trains on such machines at all, by AWS's own list that ships with botocore; asks nobody."""
    wanted = inquiry.section.instance_type
    offered = inquiry.aws.client("sagemaker").meta.service_model.shape_for("TrainingInstanceType").enum
    if wanted in offered:
        yield passed("instance", f"{wanted}, one of {len(offered)} kinds for training")
        return
    near = difflib.get_close_matches(wanted, offered, n=3, cutoff=0.6)
    fact = f"SageMaker has no {wanted} among its {len(offered)} kinds of machines for training."
    named = ", ".join(near) or ", ".join(row.type for row in inquiry.tables.instances[-3:])
    yield failed("instance", fact, f"Correct training.sagemaker.instance_type; there is {named}.")


def quota(inquiry: Inquiry) -> Iterator[Finding]:
    """Whether the account's quota allows the jobs that shall run at once, beside those that run already."""
    name = f"{inquiry.section.instance_type} for {'spot ' if inquiry.section.spot else ''}training job usage"
    found = _quota(inquiry, name)
    if found is None:
        fact = f"AWS lists no quota with the name {name!r}."
        yield unknown("quota", fact, "Look it up in the console: Service Quotas, Amazon SageMaker.")
        return
    value, code = float(found["Value"]), found.get("QuotaCode", "of no code")
    running = _running(inquiry)
    ours = {symbol for symbol in inquiry.symbols if any(job.startswith(f"{PREFIX}-{slug(symbol)}-") for job in running)}
    at_once = symbols_at_once(inquiry.config.training, len(inquiry.symbols))
    # A job of one of these symbols is found again, or is over before the next one of the symbol begins.
    needed = max(0, at_once - len(ours))
    fact = f"{name!r} is {value:g}; {len(running)} run now, {needed} more shall run at once"
    if len(running) + needed <= value:
        yield passed("quota", fact)
        return
    ask_for = len(running) + needed
    fewer = f", or set training.max_parallel={int(value) - len(running)}" if value - len(running) >= 1 else ""
    remedy = f"Ask AWS for {ask_for}: Service Quotas, Amazon SageMaker, quota {code} in {inquiry.region}{fewer}."
    yield failed(
        "quota", f"{fact}.", f"{remedy} Or choose a machine with a quota that is not 0." if not value else remedy
    )


def _quota(inquiry: Inquiry, name: str) -> dict[str, Any] | None:
    """The account's own, or AWS's default where the account has none."""
    client = inquiry.aws.client("service-quotas")
    for operation in ("list_service_quotas", "list_aws_default_service_quotas"):
        for page in client.get_paginator(operation).paginate(
            ServiceCode="sagemaker", PaginationConfig={"PageSize": 100}
        ):
            for each in page["Quotas"]:
                if each["QuotaName"] == name:
                    return dict(each)
    return None


def _running(inquiry: Inquiry) -> list[str]:
    """Names of the jobs that run on such machines, spare ones or not as ours are."""
    client, names = inquiry.aws.client("sagemaker"), []
    pages = client.get_paginator("list_training_jobs").paginate(
        StatusEquals="InProgress", PaginationConfig={"MaxItems": _LISTED_JOBS}
    )
    for summary in (each for page in pages for each in page["TrainingJobSummaries"]):
        job = client.describe_training_job(TrainingJobName=summary["TrainingJobName"])
        same = job.get("ResourceConfig", {}).get("InstanceType") == inquiry.section.instance_type
        if same and job.get("EnableManagedSpotTraining", False) == inquiry.section.spot:
            names.append(job["TrainingJobName"])
    return names
