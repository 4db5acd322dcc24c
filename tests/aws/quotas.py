"""Service Quotas, as far as training on SageMaker needs it: how many instances of each type may train at once.

What does not belong here: what is refused because of them.
"""

import hashlib
from typing import Any, Final

from tests.aws.cloud_settings import ACCOUNT, AwsError, Settings
from tests.aws.request_shapes import model, refuse_misshapen

OPERATIONS: Final = ("ListServiceQuotas", "ListAWSDefaultServiceQuotas", "GetServiceQuota")
_CPU_FAMILIES: Final = ("m", "c", "r", "t")
_CPU_DEFAULT: Final = 8


def quota_name(instance_type: str, *, spot: bool) -> str:
    """As Service Quotas lists it."""
    return f"{instance_type} for {'spot ' if spot else ''}training job usage"


def quota_of(settings: Settings, instance_type: str, *, spot: bool) -> int:
    """How many may train: what the test set, or the default: eight without a GPU, none with one, as in a new account."""
    value = settings.quotas.get((instance_type, spot))
    return _default(instance_type) if value is None else value


def answer(settings: Settings, operation: str, request: dict[str, Any], region: str) -> dict[str, Any]:
    """The answer to one of OPERATIONS."""
    refuse_misshapen("service-quotas", operation, request)
    if request["ServiceCode"] != "sagemaker":
        raise AwsError("NoSuchResourceException", f"The service {request['ServiceCode']} is not known here")
    if operation == "GetServiceQuota":
        return {"Quota": _by_code(settings, request["QuotaCode"], region)}
    defaults = operation == "ListAWSDefaultServiceQuotas"
    quotas = [
        _quota(name, float(_default(kind) if defaults else quota_of(settings, kind, spot=spot)), region)
        for name, kind, spot in _all()
        if defaults or settings.quotas.get((kind, spot), 0) is not None
    ]
    first, most = int(request.get("NextToken", 0)), request.get("MaxResults", 100)
    following = {"NextToken": str(first + most)} if first + most < len(quotas) else {}
    return {"Quotas": quotas[first : first + most], **following}


def _by_code(settings: Settings, code: str, region: str) -> dict[str, Any]:
    for name, kind, spot in _all():
        if _code(name) == code:
            return _quota(name, float(quota_of(settings, kind, spot=spot)), region)
    raise AwsError("NoSuchResourceException", f"The quota {code} does not exist")


def _all() -> list[tuple[str, str, bool]]:
    kinds = model("sagemaker").shape_for("TrainingInstanceType").enum  # type: ignore[attr-defined]
    return sorted((quota_name(kind, spot=spot), kind, spot) for kind in kinds for spot in (False, True))


def _default(instance_type: str) -> int:
    return _CPU_DEFAULT if instance_type.removeprefix("ml.").startswith(_CPU_FAMILIES) else 0


def _code(name: str) -> str:
    return f"L-{hashlib.sha256(name.encode()).hexdigest()[:8].upper()}"


def _quota(name: str, value: float, region: str) -> dict[str, Any]:
    return {
        "ServiceCode": "sagemaker",
        "ServiceName": "Amazon SageMaker",
        "QuotaArn": f"arn:aws:servicequotas:{region}:{ACCOUNT}:sagemaker/{_code(name)}",
        "QuotaCode": _code(name),
        "QuotaName": name,
        "Value": value,
        "Unit": "None",
        "Adjustable": True,
        "GlobalQuota": False,
    }
