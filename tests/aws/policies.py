"""IAM's SimulatePrincipalPolicy: everything is allowed but what the test denies.

What does not belong here: that a denied call fails (cloud_server.py, job_storage.py).
"""

from collections.abc import Mapping
from xml.sax.saxutils import escape

from moto.backends import get_backend

from tests.aws.cloud_settings import ACCOUNT, CALLER, AwsError, Settings


def simulate(settings: Settings, form: Mapping[str, str]) -> str:
    """The answer to a SimulatePrincipalPolicy request, as XML."""
    arn = form["PolicySourceArn"]
    principal = CALLER
    if ":role/" in arn:
        principal = arn.rpartition("/")[2]
        if all(role.arn != arn for role in get_backend("iam")[ACCOUNT]["aws"].get_roles()):
            raise AwsError("NoSuchEntity", f"Invalid Entity Arn: {arn} does not exist.", 404)
    resources = _members(form, "ResourceArns") or ["*"]
    results = "".join(
        f"<member><EvalActionName>{escape(action)}</EvalActionName><EvalResourceName>{escape(resource)}"
        f"</EvalResourceName><EvalDecision>{'implicitDeny' if settings.is_denied(action, principal) else 'allowed'}"
        f"</EvalDecision><MatchedStatements/><MissingContextValues/></member>"
        for action in _members(form, "ActionNames")
        for resource in resources
    )
    return (
        '<SimulatePrincipalPolicyResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/">'
        f"<SimulatePrincipalPolicyResult><IsTruncated>false</IsTruncated><EvaluationResults>{results}</EvaluationResults>"
        "</SimulatePrincipalPolicyResult><ResponseMetadata><RequestId>00000000-0000-0000-0000-000000000000</RequestId>"
        "</ResponseMetadata></SimulatePrincipalPolicyResponse>"
    )


def _members(form: Mapping[str, str], name: str) -> list[str]:
    found: list[str] = []
    while (value := form.get(f"{name}.member.{len(found) + 1}")) is not None:
        found.append(value)
    return found
