"""Training as a SageMaker job: found or created, watched, collected, stopped; never paid for twice.

    submit   the job of the same training that runs or is done is taken over; else checks, budget, upload, creation
    wait     until the job is over; its cost is settled whatever its end
    collect  the model, checked, into the output folder
    cancel   the job is told to stop

The job is named by what is trained (names.py), so that this works across processes: one that was killed left a job that
goes on, and whoever asks for the same training finds it.

What does not belong here: what the parts do, and putting them together (workplace.py).
"""

import contextlib
import itertools
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from models_lib.backends import Job, OnProgress, TrainedModel
from models_lib.config import SageMakerSection
from models_lib.errors import ConfigError, StoppedError, TrainingError, TransientError, excerpt
from models_lib.files import sha256_bytes, write_bytes, write_json
from models_lib.interruption import refuse_when_stopped
from models_lib.training.spec import FAILURE_FILE, HISTORY_FILE, WEIGHTS_FILE, TrainingSpec
from tasks.adapters.aws.clients import Aws
from tasks.adapters.s3.objects import S3Folder
from tasks.adapters.sagemaker.accounts import Accounts
from tasks.adapters.sagemaker.collect import fetch_model
from tasks.adapters.sagemaker.ends import end_error
from tasks.adapters.sagemaker.inputs import Code, Inputs, bring, packed
from tasks.adapters.sagemaker.jobs import Jobs
from tasks.adapters.sagemaker.logs import JobLog
from tasks.adapters.sagemaker.names import Keys, job_identity, job_name
from tasks.adapters.sagemaker.orders import OF_INPUTS, order_of
from tasks.adapters.sagemaker.request import JobOrder, training_request
from tasks.adapters.sagemaker.state import JobState
from tasks.adapters.sagemaker.tables import Image
from tasks.adapters.sagemaker.watch import JobWatch

JOB_FILE: Final = "job.json"
"""Facts of the job that made the weights beside it."""
PATIENCE_SECONDS: Final = 300.0
"""AWS may fail to answer for so long while a job runs: it goes on by itself, and giving up would only lose sight of it."""
_log = logging.getLogger("models_lib.backends")


@dataclass(frozen=True)
class Workplace:
    """What a backend works with.

    Attributes:
        section: machine, limits, places.
        run_id: the run that pays.
        aws: for orders, with retries.
        watching: for questions that are asked again and again: one attempt each, so that a stop is heard at once.
        storage: training.sagemaker.uri.
        image: of the jobs.
        code: the program of the jobs.
        check: the preflight of one training and its files; raises PreflightError.
        accounts: what jobs cost.
        patience_seconds: as PATIENCE_SECONDS.
    """

    section: SageMakerSection
    run_id: str
    aws: Aws
    watching: Aws
    storage: S3Folder
    image: Image
    code: Code
    check: Callable[[TrainingSpec, Inputs], None]
    accounts: Accounts
    patience_seconds: float = PATIENCE_SECONDS


class SageMakerBackend:
    """Trains in jobs of AWS SageMaker, one a training.

    Args:
        workplace: everything that it works with.
    """

    def __init__(self, workplace: Workplace) -> None:
        self._place = workplace
        self._jobs = Jobs(workplace.aws)
        self._watched = Jobs(workplace.watching)

    def submit(self, spec: TrainingSpec) -> Job:
        """The job of this training: the one that runs or is done, else the next attempt."""
        refuse_when_stopped()
        spec.output.mkdir(parents=True, exist_ok=True)
        for name in (WEIGHTS_FILE, HISTORY_FILE, FAILURE_FILE, JOB_FILE):
            (spec.output / name).unlink(missing_ok=True)
        place = self._place
        with packed(spec) as inputs:
            identity = job_identity(
                inputs_sha256=inputs.sha256,
                image=place.image.uri,
                archive_sha256=place.code.sha256,
                instance_type=place.section.instance_type,
                device=spec.training.device,
            )
            for attempt in itertools.count(1):
                name = job_name(spec.symbol, identity, attempt)
                state = self._jobs.describe(name)
                if state is None:
                    if place.accounts.has_ended(name):
                        continue  # of another account, or deleted: its line of the ledger cannot stand for a second bill
                    state = self._create(name, spec, inputs, identity)
                if state is None or self._takes_over(state, spec, inputs):
                    return Job(name, spec)
        raise AssertionError("there is always another attempt")

    def wait(self, job: Job, *, on_progress: OnProgress) -> None:
        """Follows the job and its log until it is over, and settles what it cost."""
        place, symbol = self._place, job.spec.symbol
        log = JobLog(place.watching.client("logs"), job.name)
        watch = JobWatch(
            symbol,
            describe=lambda: self._known(self._watched, job),
            log=log,
            on_progress=on_progress,
            poll_seconds=place.section.poll_seconds,
            patience_seconds=place.patience_seconds,
        )
        try:
            state = watch.until_over()
        except StoppedError as error:
            raise StoppedError(self._stopped(job, watch.seen)) from error
        except TransientError as error:
            raise TransientError(
                f"{symbol}: {error} The SageMaker job {job.name} goes on, and is billed: start the run again and it is found, "
                f"or end it with `{self._by_hand(job)}`."
            ) from error
        place.accounts.settle(symbol, state)
        failure = end_error(symbol, state, cost=place.accounts.sentence(state), tail=tuple(log.tail))
        if failure is not None:
            raise failure

    def collect(self, job: Job) -> TrainedModel:
        """Weights, history and the facts of the job, in the output folder; the weights come last."""
        state, spec = self._known(self._jobs, job), job.spec
        returned = fetch_model(self._place.aws, state.artefact, spec, inputs_sha256=state.hyperparameters[OF_INPUTS])
        history_path, path = spec.output / HISTORY_FILE, spec.output / WEIGHTS_FILE
        write_bytes(history_path, returned.history_file)
        write_json(spec.output / JOB_FILE, self._facts(spec.symbol, state, returned.record))
        write_bytes(path, returned.weights)
        return TrainedModel(
            path=path,
            sha256=sha256_bytes(returned.weights),
            history_path=history_path,
            history=returned.history,
            paid_job=job.name,
        )

    def cancel(self, job: Job) -> None:
        """Tells the job to stop. What it cost is settled by the next run, when AWS knows it."""
        try:
            self._jobs.stop(job.name)
        except (TransientError, ConfigError) as error:
            raise TransientError(
                f"{job.spec.symbol}: the SageMaker job {job.name} could not be told to stop and may still run: {error} Stop "
                f"it with `{self._by_hand(job)}`."
            ) from error

    def _by_hand(self, job: Job) -> str:
        return f"aws sagemaker stop-training-job --region {self._place.aws.region} --training-job-name {job.name}"

    def _create(self, name: str, spec: TrainingSpec, inputs: Inputs, identity: str) -> JobState | None:
        """Creates the job; the state of the one that somebody else created meanwhile, if so."""
        place, accounts = self._place, self._place.accounts
        accounts.settle_what_ended(self._jobs)
        place.check(spec, inputs)
        keys = Keys.of(inputs_sha256=inputs.sha256, archive_sha256=place.code.sha256, identity=identity)
        request = training_request(self._order(name, spec, inputs, keys), place.section)
        self._jobs.check(request)
        accounts.alarm.stand()
        ours = accounts.reserve(spec.symbol, name)
        try:
            bring(place.storage, keys, inputs, place.code)
            refuse_when_stopped()
        except BaseException:
            if ours:
                accounts.release(name)
            raise
        if not self._ordered(request, ours=ours):
            return self._somebody_elses(name, spec, inputs, ours=ours)
        self._keep_only_if_wanted(Job(name, spec))
        return None

    def _order(self, name: str, spec: TrainingSpec, inputs: Inputs, keys: Keys) -> JobOrder:
        place = self._place
        return order_of(
            name,
            spec,
            section=place.section,
            run_id=place.run_id,
            image=place.image.uri,
            entry=place.code.entry,
            inputs_sha256=inputs.sha256,
            keys=keys,
            metrics=place.code.metrics,
        )

    def _ordered(self, request: Mapping[str, Any], *, ours: bool) -> bool:
        """Whether AWS created the job; what it refuses costs nothing. Without an answer it may have, and the ceiling stays.

        A refusal is none where there is the job all the same: it may hold the very quota that this order was refused for.
        """
        name = request["TrainingJobName"]
        try:
            return self._jobs.create(request)
        except ConfigError:
            if self._jobs.describe(name) is not None:
                return False
            if ours:
                self._place.accounts.release(name)
            raise

    def _somebody_elses(self, name: str, spec: TrainingSpec, inputs: Inputs, *, ours: bool) -> JobState:
        state = self._jobs.describe(name)
        if state is None:
            raise TransientError(
                f"{spec.symbol}: AWS says that there is a job {name} and does not know it yet. Try again in a minute."
            )
        if ours and state.hyperparameters.get(OF_INPUTS) != inputs.sha256:
            self._place.accounts.release(name)  # whoever made it pays for it
        return state

    def _keep_only_if_wanted(self, job: Job) -> None:
        """Ends a job that was created while the run was being stopped.

        Raises:
            StoppedError: that is so.
        """
        try:
            refuse_when_stopped()
        except StoppedError:
            self.cancel(job)
            raise

    def _takes_over(self, state: JobState, spec: TrainingSpec, inputs: Inputs) -> bool:
        """Whether this job is the one; False: it came to nothing, so the next attempt is.

        Raises:
            ConfigError: it is not a job of this training at all.
        """
        found = state.hyperparameters.get(OF_INPUTS)
        if found != inputs.sha256:
            raise ConfigError(
                f"{spec.symbol}: there is a training job {state.name} that trains something else (inputs "
                f"{excerpt(found)}, not {inputs.sha256}), made by somebody else. Delete it, or change training.seed."
            )
        accounts = self._place.accounts
        if state.over:
            self._tell_what_nobody_saw(state, spec)
        elif not state.ends:
            accounts.adopt(spec.symbol, state.name)
        if state.ends and not (state.status == "Completed" and self._is_whole(state, spec, inputs)):
            return False
        _log.info("%s is %s: taken over", state.name, state.secondary or state.status, extra={"symbol": spec.symbol})
        return True

    def _tell_what_nobody_saw(self, state: JobState, spec: TrainingSpec) -> None:
        """Settles a job that is over. How it ended is told where nobody was told before; a run pays only once for that.

        Raises:
            CrpbotError: it is a job of this very run that came to nothing: its end is this run's.
        """
        accounts, symbol = self._place.accounts, spec.symbol
        known = accounts.ledger.of_job(state.name)
        accounts.settle(symbol, state)
        if (known is not None and known.outcome is not None) or state.status == "Completed":
            return
        log = JobLog(self._place.watching.client("logs"), state.name)
        with contextlib.suppress(TransientError, ConfigError):  # its end is told without them
            log.tail.extend(log.news())
        failure = end_error(symbol, state, cost=accounts.sentence(state), tail=tuple(log.tail))
        if failure is not None and known is not None and known.run_id == self._place.run_id:
            raise failure
        _log.warning("%s", failure, extra={"symbol": symbol})

    def _is_whole(self, state: JobState, spec: TrainingSpec, inputs: Inputs) -> bool:
        try:
            fetch_model(self._place.aws, state.artefact, spec, inputs_sha256=inputs.sha256)
        except TrainingError as error:
            _log.warning("%s", error, extra={"symbol": spec.symbol})
            return False
        return True

    def _known(self, jobs: Jobs, job: Job) -> JobState:
        state = jobs.describe(job.name)
        if state is None:
            raise TrainingError(
                f"{job.spec.symbol}: AWS no longer knows the job {job.name}; somebody deleted it. Start the run again."
            )
        return state

    def _stopped(self, job: Job, seen: JobState | None) -> str:
        """What is said when the run was stopped while it waited; the job is told to stop after this, so nobody is asked."""
        said = f"{job.spec.symbol}: the run was stopped, and its SageMaker job {job.name} is told to stop."
        cost = self._place.accounts.sentence(seen) if seen is not None else "`crpbot costs` shows what it cost."
        return f"{said} {cost} Start the run again when it suits: the next attempt goes on from the last checkpoint."

    def _facts(self, symbol: str, state: JobState, record: Mapping[str, Any]) -> dict[str, Any]:
        """What job.json says: plain values."""
        cost = self._place.accounts.settle(symbol, state)
        times = {"created_at": state.created_at, "started_at": state.started_at, "ended_at": state.ended_at}
        return {
            "name": state.name,
            "arn": state.arn,
            "region": self._place.aws.region,
            "image": state.image,
            "image_digest": self._jobs.digest_of(self._place.image) if state.image == self._place.image.uri else None,
            "instance_type": state.instance_type,
            "spot": state.spot,
            "training_seconds": state.training_seconds,
            "billable_seconds": cost.billable_seconds,
            "usd_per_hour": cost.usd_per_hour,
            "price_as_of": cost.price_as_of.isoformat(),
            "cost_usd": cost.cost_usd,
            "model": state.artefact,
            "container": dict(record),
            **{name: time and time.isoformat(timespec="seconds") for name, time in times.items()},
        }
