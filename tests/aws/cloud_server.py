"""The process of the stand-in of AWS: moto, and before it what moto has not or has wrongly.

    SageMaker's training jobs          training_jobs.py, job_life.py
    Service Quotas, price list         quotas.py, prices.py
    IAM's policy simulation            policies.py
    S3 (only when asked to)            s3_gateway.py, in front of the real server
    everything else                    moto: STS, IAM, ECR, CloudWatch and its Logs, SNS

    python -m tests.aws.cloud_server FOLDER

It writes its port to FOLDER/port. Requests to /_crpbot/NAME are the test's orders; see cloud.py.

What does not belong here: what a test writes against (cloud.py).
"""

import io
import json
import logging
import os
import signal
import sys
import threading
import traceback
import uuid
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

from tests.aws import policies, prices, quotas
from tests.aws.cloud_settings import ACCOUNT, CALLER, EYES, AwsError, Fault, Interruption, Settings
from tests.aws.request_shapes import assert_well_shaped
from tests.aws.s3_gateway import S3Gateway
from tests.aws.training_jobs import TrainingJobs

_SERVICES: Final = {"monitoring": "cloudwatch"}
"""How a service signs, and how policies call it, where the two differ."""


class Server:
    """The application: one request in, one answer out.

    Args:
        folder: for the folders of jobs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._resets = 0
        self._begin()
        self._orders: dict[str, Callable[[dict[str, Any]], Any]] = {
            "bucket_region": lambda said: self._settings.bucket_regions.update({said["bucket"]: said["region"]}),
            "configure": self._configure,
            "deny": lambda said: self._settings.denied.add((said["action"], said["principal"])),
            "allow": lambda said: self._settings.denied.discard((said["action"], said["principal"])),
            "fail": lambda said: self._settings.faults.update({said.pop("action"): Fault(**said)}),
            "interrupt": self._interrupt,
            "jobs": lambda said: [_seen(job) for job in self._jobs.jobs.values()],
            "price": lambda said: self._settings.prices.update({said["instance_type"]: said["usd"]}),
            "quota": lambda said: self._settings.quotas.update(
                {(said["instance_type"], said["spot"]): said["instances"]}
            ),
            "requests": lambda said: self._settings.requests,
            "reset": lambda said: self.reset(),
        }

    def __call__(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        """Answers as WSGI wants it."""
        path = environ["PATH_INFO"]
        if path.startswith("/_crpbot/"):
            return self._ordered(path.removeprefix("/_crpbot/"), environ, start)
        if path.startswith("/moto-api"):
            return self._moto(environ, start)  # type: ignore[no-any-return]
        key, region, service = _scope(environ)
        if service == "s3":
            return self._s3(environ, start, signed_for=region)
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        target = environ.get("HTTP_X_AMZ_TARGET", "")
        try:
            return self._of_a_service(environ, start, body=body, key=key, region=region, service=service)
        except AwsError as error:
            return _json_error(start, error) if target else _xml_error(start, error)
        except Exception as fault:  # noqa: BLE001  a fault of the stand-in must be seen in the test that met it
            traceback.print_exc()
            return _json_error(start, AwsError("StandInFault", repr(fault), 500))

    def end(self) -> None:
        """Ends all jobs."""
        self._jobs.end()

    def reset(self) -> None:
        """Forgets everything; no process of a job is left."""
        self.end()
        self._begin()
        from moto.moto_api._internal.models import moto_api_backend  # noqa: PLC0415

        moto_api_backend.reset()

    def _begin(self) -> None:
        self._resets += 1
        self._settings = Settings()
        self._jobs = TrainingJobs(self._settings, self._folder / f"jobs-{self._resets}")
        self._s3 = S3Gateway(self._settings, os.environ["AWS_ENDPOINT_URL_S3"])

    def _of_a_service(
        self, environ: dict[str, Any], start: Any, *, body: bytes, key: str, region: str, service: str
    ) -> Iterable[bytes]:
        target = environ.get("HTTP_X_AMZ_TARGET", "")
        form = {} if target else dict(parse_qsl(body.decode()))
        operation = target.rpartition(".")[2] or form.get("Action", "")
        action = f"{_SERVICES.get(service, service)}:{operation}"
        if EYES not in environ.get("HTTP_USER_AGENT", ""):
            self._refuse(action, key, query=not target)
        if service == "sagemaker" and operation in self._jobs.answers:
            return _shaped(start, "sagemaker", operation, self._jobs.answers[operation](json.loads(body), region))
        if service == "servicequotas" and operation in quotas.OPERATIONS:
            answer = quotas.answer(self._settings, operation, json.loads(body), region)
            return _shaped(start, "service-quotas", operation, answer)
        if action == "pricing:GetProducts":
            return _shaped(start, "pricing", operation, prices.answer(self._settings, json.loads(body)))
        if action == "iam:SimulatePrincipalPolicy":
            return _answered(start, "200 OK", "text/xml", policies.simulate(self._settings, form).encode())
        if service == "ecr" and (registry := json.loads(body).get("registryId")):
            environ["HTTP_X_MOTO_ACCOUNT_ID"] = registry  # moto looks into the caller's own registry otherwise
        return self._moto(environ, start)  # type: ignore[no-any-return]

    def _refuse(self, action: str, key: str, *, query: bool) -> None:
        if key != os.environ["AWS_ACCESS_KEY_ID"]:
            code = "InvalidClientTokenId" if query else "UnrecognizedClientException"
            raise AwsError(code, "The security token included in the request is invalid.", 403 if query else 400)
        self._settings.count(action)
        if self._settings.is_denied(action, CALLER):
            raise AwsError(
                "AccessDenied" if query else "AccessDeniedException",
                f"User: arn:aws:iam::{ACCOUNT}:user/operator is not authorized to perform: {action} because no "
                f"identity-based policy allows the {action} action",
                403 if query else 400,
            )

    def _ordered(self, name: str, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        said = json.loads(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)) or b"{}")
        try:
            return _json(start, {"answer": self._orders[name](said)})
        except AwsError as error:
            return _json_error(start, error)

    def _configure(self, said: dict[str, Any]) -> None:
        for name, value in said.items():
            if name not in asdict(self._settings.pace):
                raise AwsError("UnknownSetting", name)
            setattr(self._settings.pace, name, value)

    def _interrupt(self, said: dict[str, Any]) -> None:
        with self._settings.lock:
            self._settings.interruptions.append(Interruption(**said))


def _seen(job: Any) -> dict[str, Any]:
    trained, billed = job.seconds()
    return {
        "name": job.name,
        "status": job.status,
        "secondary": job.secondary,
        "reason": job.reason,
        "instance_type": job.instance_type,
        "spot": job.spot,
        "training_seconds": trained,
        "billable_seconds": billed if job.started is not None else 0,
        "folder": str(job.folder),
    }


def _scope(environ: dict[str, Any]) -> tuple[str, str, str]:
    """Access key, region and service for which a request is signed."""
    _, _, rest = environ.get("HTTP_AUTHORIZATION", "").partition("Credential=")
    parts = rest.partition(",")[0].split("/")
    return (parts[0], parts[2], parts[3]) if len(parts) == 5 else ("", "", "")


def _shaped(start: Any, service: str, operation: str, answer: dict[str, Any]) -> Iterable[bytes]:
    """An answer that the service's model allows."""
    assert_well_shaped(service, operation, answer)
    return _json(start, answer)


def _json(start: Any, content: Any) -> Iterable[bytes]:
    return _answered(start, "200 OK", "application/x-amz-json-1.1", json.dumps(content).encode())


def _json_error(start: Any, error: AwsError) -> Iterable[bytes]:
    body = json.dumps({"__type": error.code, "message": error.message}).encode()
    return _answered(start, f"{error.status} Error", "application/x-amz-json-1.1", body)


def _xml_error(start: Any, error: AwsError) -> Iterable[bytes]:
    body = (
        f"<ErrorResponse><Error><Type>Sender</Type><Code>{error.code}</Code><Message>{error.message}</Message></Error>"
        f"<RequestId>{uuid.uuid4()}</RequestId></ErrorResponse>"
    )
    return _answered(start, f"{error.status} Error", "text/xml", body.encode())


def _answered(start: Any, status: str, kind: str, body: bytes) -> Iterable[bytes]:
    headers = [("Content-Type", kind), ("Content-Length", str(len(body))), ("x-amzn-RequestId", str(uuid.uuid4()))]
    start(status, headers)
    return [body]


def main() -> None:
    """Serves until SIGTERM."""
    folder = Path(sys.argv[1])
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = Server(folder)
    wsgi = make_server("127.0.0.1", 0, server, threaded=True, request_handler=MotoRequestHandler)
    os.environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{wsgi.server_port}"
    signal.signal(signal.SIGTERM, lambda number, frame: threading.Thread(target=wsgi.shutdown).start())
    (folder / "port.new").write_text(str(wsgi.server_port))
    (folder / "port.new").rename(folder / "port")
    try:
        wsgi.serve_forever(poll_interval=0.05)
    finally:
        server.end()


if __name__ == "__main__":
    main()
