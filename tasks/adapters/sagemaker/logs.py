"""The log of one job, followed: each call gives what is new since the last one.

A job writes below /aws/sagemaker/TrainingJobs, one stream for each start of its container; on spare machines there may be
several. Group and streams appear minutes after the job, and the last lines seconds after its end.

What does not belong here: what a line says (watch.py), and what is made of the last ones (ends.py).
"""

from collections import deque
from collections.abc import Iterator
from typing import Any, Final

from botocore.exceptions import ClientError

from tasks.adapters.aws.faults import code_of, translated
from tasks.adapters.sagemaker.ends import TAIL_LINES

GROUP: Final = "/aws/sagemaker/TrainingJobs"
_NOT_YET: Final = frozenset({"ResourceNotFoundException", "ResourceNotFound"})
_MOST_PAGES: Final = 50
"""Of one stream and one look: what is left comes with the next look."""


class JobLog:
    """The lines of a job's containers, in the order in which their streams appeared.

    Args:
        client: boto3's, of CloudWatch Logs.
        job: its name.
    """

    def __init__(self, client: Any, job: str) -> None:
        self._client = client
        self._job = job
        self._tokens: dict[str, str | None] = {}
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        """The last lines that are no progress messages; whoever reads the lines fills it."""

    def news(self) -> list[str]:
        """The lines that came since the last call; none while there is no log.

        Raises:
            TransientError: AWS does not answer; what was read before is not read again.
            ConfigError: the caller may not read the log.
        """
        with translated(f"log of {self._job}"):
            return [line for stream in self._streams() for line in self._of_stream(stream)]

    def _streams(self) -> list[str]:
        try:
            pages = self._client.get_paginator("describe_log_streams").paginate(
                logGroupName=GROUP, logStreamNamePrefix=f"{self._job}/algo-"
            )
            found = [stream for page in pages for stream in page["logStreams"]]
        except ClientError as error:
            if code_of(error) in _NOT_YET:
                return []
            raise
        return [stream["logStreamName"] for stream in sorted(found, key=lambda each: each.get("creationTime", 0))]

    def _of_stream(self, stream: str) -> Iterator[str]:
        for _ in range(_MOST_PAGES):
            token = self._tokens.get(stream)
            given = {} if token is None else {"nextToken": token}
            try:
                page = self._client.get_log_events(
                    logGroupName=GROUP, logStreamName=stream, startFromHead=True, **given
                )
            except ClientError as error:
                if code_of(error) in _NOT_YET:
                    return
                raise
            self._tokens[stream] = page["nextForwardToken"]
            yield from (event["message"] for event in page["events"])
            if page["nextForwardToken"] == token:
                return
