"""An alarm on failed jobs in CloudWatch, for those who set training.sagemaker.alarm_topic_arn.

SageMaker publishes no number of failed training jobs of an account, so each failed end that this system sees is counted
in a metric of its own, and one alarm without dimensions stands on it. A job that fails while nobody watches it is counted
by the run that finds it; if none ever does, it is not counted.

What does not belong here: notifications of runs (models_lib.notifications); a fault of the alarm never ends a training.
"""

import logging
from typing import Any, Final

from models_lib.errors import ConfigError, TransientError
from tasks.adapters.aws.clients import Aws
from tasks.adapters.aws.faults import translated

NAMESPACE: Final = "crpbot"
METRIC: Final = "TrainingJobsFailed"
ALARM: Final = "crpbot-training-jobs-failed"
_PERIOD_SECONDS: Final = 300
_log = logging.getLogger("models_lib.backends")


class FailedJobsAlarm:
    """The alarm and its metric; without a topic it does nothing.

    Args:
        aws: gives the client.
        topic_arn: of the SNS topic that is told; None: no alarm is wanted.
    """

    def __init__(self, aws: Aws, topic_arn: str | None) -> None:
        self._aws = aws
        self._topic_arn = topic_arn

    def stand(self) -> None:
        """Makes the alarm, or makes it again as it should be; its present state stays."""
        self._ask(
            "put_metric_alarm",
            AlarmName=ALARM,
            AlarmDescription="A training job of crpbot-training failed; the log of the run and the ledger of costs say which.",
            Namespace=NAMESPACE,
            MetricName=METRIC,
            Statistic="Sum",
            Period=_PERIOD_SECONDS,
            EvaluationPeriods=1,
            Threshold=1.0,
            ComparisonOperator="GreaterThanOrEqualToThreshold",
            TreatMissingData="notBreaching",
            AlarmActions=[self._topic_arn],
        )

    def count_failure(self) -> None:
        """One more job failed, now."""
        self._ask(
            "put_metric_data", Namespace=NAMESPACE, MetricData=[{"MetricName": METRIC, "Value": 1.0, "Unit": "Count"}]
        )

    def _ask(self, operation: str, **parameters: Any) -> None:
        if self._topic_arn is None:
            return
        try:
            with translated("CloudWatch alarm on failed jobs"):
                getattr(self._aws.client("cloudwatch"), operation)(**parameters)
        except (ConfigError, TransientError) as error:
            _log.warning("%s", error)
