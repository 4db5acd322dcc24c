"""What IAM's simulation leaves open is unknown; only what it forbids stops a job."""

from tasks.adapters.sagemaker.checks.role import Rights, rights_of


def said(action, decision, *missing):
    return {"EvalActionName": action, "EvalDecision": decision, "MissingContextValues": list(missing)}


def test_right_under_a_condition_that_was_not_told_is_unsure():
    results = [
        said("sagemaker:DescribeTrainingJob", "allowed", "aws:ResourceTag/project"),
        said("sagemaker:CreateTrainingJob", "implicitDeny", "aws:RequestTag/project"),
        said("sagemaker:StopTrainingJob", "implicitDeny"),
        said("iam:PassRole", "explicitDeny", "aws:MultiFactorAuthPresent"),
    ]
    assert rights_of(results) == Rights(
        denied=["sagemaker:StopTrainingJob", "iam:PassRole"], unsure=["sagemaker:CreateTrainingJob"]
    )
    assert rights_of([]) == Rights([], [])
