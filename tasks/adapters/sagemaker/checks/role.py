"""The role of the jobs: does it exist, does SageMaker get it, what may it do, and may the caller hand it over?

What does not belong here: who the caller is (account.py).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import ClientError

from models_lib.preflight import Finding
from tasks.adapters.aws.faults import code_of
from tasks.adapters.sagemaker.checks.asking import Inquiry, failed, passed, prefix_of, unknown

SAGEMAKER: Final = "sagemaker.amazonaws.com"
_CONDITIONS: Final = "depends on conditions of its policy that IAM does not simulate"
_SEE_CONDITIONS: Final = "See in the policy that the conditions hold for these jobs."
_ASSUME: Final = frozenset({"sts:AssumeRole", "sts:*", "*"})


def role(inquiry: Inquiry) -> Iterator[Finding]:
    """Whether the role exists in the caller's account and SageMaker may take it."""
    arn = inquiry.role_arn
    account, name = arn.split(":")[4], arn.rpartition("/")[2]
    caller = inquiry.aws.client("sts").get_caller_identity()
    if caller["Account"] != account:
        fact = f"{arn} is of account {account}, the caller of {caller['Account']}."
        yield failed(
            "role", fact, "Set training.sagemaker.role_arn to a role of that account, or use other credentials."
        )
        return
    try:
        found = inquiry.aws.client("iam").get_role(RoleName=name)["Role"]
    except ClientError as error:
        if code_of(error) not in {"NoSuchEntity", "NoSuchEntityException"}:
            raise
        remedy = f"Correct training.sagemaker.role_arn, or make the role and let {SAGEMAKER} assume it."
        yield failed("role", f"{arn}: there is no such role in account {account}.", remedy)
        return
    if found["Arn"] != arn:
        yield failed("role", f"{arn}: the role's ARN is {found['Arn']}.", "Correct training.sagemaker.role_arn.")
    elif not _trusts_sagemaker(found["AssumeRolePolicyDocument"]):
        fact = f"{arn}: its trust policy does not let {SAGEMAKER} assume it."
        remedy = f"Add a statement to its trust policy: Allow sts:AssumeRole to the service {SAGEMAKER}."
        yield failed("role", fact, remedy)
    else:
        yield passed("role", f"{name} exists and trusts {SAGEMAKER}")


def rights(inquiry: Inquiry) -> Iterator[Finding]:
    """Whether the role may read inputs, write models, fetch the image and write its log, as IAM simulates it."""
    partition = inquiry.role_arn.split(":")[1]
    bucket = f"arn:{partition}:s3:::{inquiry.bucket}"
    objects = f"{bucket}/{prefix_of(inquiry.uri)}*"
    asked = [
        (["s3:GetObject", "s3:PutObject"], objects),
        (["s3:ListBucket"], bucket),
        (["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents", "ecr:GetAuthorizationToken"], "*"),
    ]
    if (image := inquiry.image) is not None:
        repository = f"arn:{partition}:ecr:{image.region}:{image.account}:repository/{image.repository}"
        asked.append((["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"], repository))
    said = [(_simulated(inquiry, actions, where), where) for actions, where in asked]
    denied = [f"{action} on {where}" for rights, where in said for action in rights.denied]
    unsure = [f"{action} on {where}" for rights, where in said for action in rights.unsure]
    if denied:
        fact = f"{inquiry.role_arn} may not do {', '.join(denied)}."
        yield failed("role rights", fact, "Allow it in a policy of the role.")
    elif unsure:
        yield unknown("role rights", f"{inquiry.role_arn}: {', '.join(unsure)} {_CONDITIONS}.", _SEE_CONDITIONS)
    else:
        yield passed("role rights", "may read and write the bucket, fetch the image and write its log")


def passing(inquiry: Inquiry) -> Iterator[Finding]:
    """Whether the caller may hand the role to SageMaker, and make, watch and stop jobs, as IAM simulates it."""
    name = "pass role"
    source = _policies_of(inquiry)
    if source is None:
        yield unknown(name, "IAM does not simulate the policies of this kind of caller.", "Submit, and see.")
        return
    if source.endswith(":root"):
        yield passed(name, "the root user of the account may do everything")
        return
    handing = _simulated(inquiry, ["iam:PassRole"], inquiry.role_arn, source=source)
    jobs = ["sagemaker:CreateTrainingJob", "sagemaker:DescribeTrainingJob", "sagemaker:StopTrainingJob"]
    account = inquiry.role_arn.split(":")[4]
    partition = inquiry.role_arn.split(":")[1]
    any_job = f"arn:{partition}:sagemaker:{inquiry.region}:{account}:training-job/*"
    working = _simulated(inquiry, jobs, any_job, source=source)
    denied, unsure = handing.denied + working.denied, handing.unsure + working.unsure
    if denied:
        fact = f"{source} may not do {', '.join(denied)} with {inquiry.role_arn}."
        yield failed(name, fact, f"Allow it in the caller's policy; iam:PassRole on {inquiry.role_arn} to {SAGEMAKER}.")
    elif unsure:
        yield unknown(name, f"{source}: {', '.join(unsure)} {_CONDITIONS}.", _SEE_CONDITIONS)
    else:
        yield passed(name, f"{source} may pass the role to SageMaker, and make, watch and stop jobs")


def _trusts_sagemaker(policy: Any) -> bool:
    """Whether a trust policy, as boto3 decodes it, lets SageMaker assume the role and no statement forbids it."""
    statements = [each for each in _listed(policy.get("Statement")) if _names_sagemaker(each)]
    effects = {each.get("Effect") for each in statements}
    return "Allow" in effects and "Deny" not in effects


def _names_sagemaker(statement: dict[str, Any]) -> bool:
    principal = statement.get("Principal", {})
    services = _listed(principal.get("Service")) if isinstance(principal, dict) else []
    return SAGEMAKER in services and bool(_ASSUME.intersection(_listed(statement.get("Action"))))


def _listed(value: Any) -> list[Any]:
    """IAM writes one of something without a list."""
    return value if isinstance(value, list) else [] if value is None else [value]


@dataclass(frozen=True)
class Rights:
    """What a simulation of IAM left open.

    Attributes:
        denied: actions that the policies do not allow.
        unsure: actions whose policies have conditions on what the simulation was not told, such as tags of the request.
    """

    denied: list[str]
    unsure: list[str]


def rights_of(results: Sequence[Mapping[str, Any]]) -> Rights:
    """What `EvaluationResults` of a simulation leave open."""
    refused = [each for each in results if each["EvalDecision"] != "allowed"]
    open_ones = [
        each for each in refused if each["EvalDecision"] != "explicitDeny" and each.get("MissingContextValues")
    ]
    return Rights(
        denied=[each["EvalActionName"] for each in refused if each not in open_ones],
        unsure=[each["EvalActionName"] for each in open_ones],
    )


def _simulated(inquiry: Inquiry, actions: list[str], resource: str, *, source: str | None = None) -> Rights:
    """What the policies of `source` (None: the role) say to the actions."""
    answer = inquiry.aws.client("iam").simulate_principal_policy(
        PolicySourceArn=source or inquiry.role_arn,
        ActionNames=actions,
        ResourceArns=[resource],
        ContextEntries=[
            {"ContextKeyName": "iam:PassedToService", "ContextKeyValues": [SAGEMAKER], "ContextKeyType": "string"}
        ],
    )
    return rights_of(answer["EvaluationResults"])


def _policies_of(inquiry: Inquiry) -> str | None:
    """ARN of what holds the caller's policies: a user, or the role behind a session; None: neither."""
    arn = str(inquiry.aws.client("sts").get_caller_identity()["Arn"])
    kind, _, rest = arn.split(":", 5)[5].partition("/")
    if kind == "assumed-role":
        # A session's ARN leaves the path of its role out.
        return str(inquiry.aws.client("iam").get_role(RoleName=rest.partition("/")[0])["Role"]["Arn"])
    return arn if kind in {"user", "root"} else None
