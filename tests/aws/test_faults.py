"""Every fault of botocore becomes an error of ours that says what to do; none gets through, and none is forgotten."""

import pickle
from collections.abc import Iterator
from pathlib import Path

import botocore.exceptions
import pytest
from botocore.exceptions import BotoCoreError, ClientError

from models_lib.errors import ConfigError, CrpbotError, TransientError
from tasks.adapters.aws.clients import Aws
from tasks.adapters.aws.faults import code_of, is_denied, translated, words_of
from tasks.adapters.s3.objects import S3Folder
from tests.aws.weed import REGION, Weed
from tests.ports import free_port

PASSING = {
    "ChecksumError",
    "ConnectTimeoutError",
    "ConnectionClosedError",
    "ConnectionError",
    "EndpointConnectionError",
    "FlexibleChecksumError",
    "HTTPClientError",
    "IncompleteReadError",
    "ProxyConnectionError",
    "ReadTimeoutError",
    "ResponseStreamingError",
    "SSLError",
}
CREDENTIALS = {
    "CredentialRetrievalError",
    "LoginAuthorizationCodeError",
    "LoginError",
    "LoginInsufficientPermissions",
    "LoginRefreshRequired",
    "LoginTokenLoadError",
    "MetadataRetrievalError",
    "NoAuthTokenError",
    "NoCredentialsError",
    "PartialCredentialsError",
    "ProfileNotFound",
    "RefreshWithMFAUnsupportedError",
    "SSOError",
    "SSOTokenLoadError",
    "TokenRetrievalError",
    "UnauthorizedSSOTokenError",
    "UnknownCredentialError",
}


def kinds(kind: type[Exception]) -> Iterator[type[Exception]]:
    yield kind
    for heir in kind.__subclasses__():
        if heir.__module__ == botocore.exceptions.__name__:
            yield from kinds(heir)


ALL = {kind.__name__: kind for kind in kinds(BotoCoreError)}


def told(error: Exception) -> CrpbotError:
    with pytest.raises(CrpbotError) as told, translated("s3://bucket/key"):
        raise error
    assert told.value.__cause__ is error
    return pickle.loads(pickle.dumps(told.value))


def answer(code: str, status: int, words: str = "Amazon's words\nin two lines") -> ClientError:
    response = {"Error": {"Code": code, "Message": words}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, "PutObject")  # type: ignore[arg-type]


def test_lists_name_faults_that_exist() -> None:
    assert len(ALL) > 80
    assert ALL.keys() >= PASSING | CREDENTIALS


@pytest.mark.parametrize("name", sorted(ALL))
def test_every_fault_of_botocore_becomes_one_of_ours(name: str) -> None:
    kind = ALL[name]
    error = told(kind.__new__(kind))
    assert type(error) is (TransientError if name in PASSING else ConfigError)
    assert str(error).startswith("s3://bucket/key: ")
    assert ("Set AWS_PROFILE" in str(error)) is (name in CREDENTIALS)


@pytest.mark.parametrize(
    ("code", "status", "kind", "words"),
    [
        ("SlowDown", 503, TransientError, "AWS answers SlowDown (Amazon's words?in two lines). Try again later."),
        ("ThrottlingException", 400, TransientError, "AWS answers ThrottlingException"),
        ("RequestTimeout", 400, TransientError, "AWS answers RequestTimeout"),
        ("InternalError", 500, TransientError, "AWS answers InternalError"),
        ("NeverHeardOf", 502, TransientError, "AWS answers NeverHeardOf"),
        ("NotImplemented", 501, ConfigError, "AWS refuses PutObject with NotImplemented"),
        ("ExpiredToken", 400, ConfigError, "AWS refuses the credentials, ExpiredToken"),
        ("InvalidAccessKeyId", 403, ConfigError, "Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
        ("SignatureDoesNotMatch", 403, ConfigError, "AWS refuses the credentials, SignatureDoesNotMatch"),
        ("AccessDenied", 403, ConfigError, "the caller may not do PutObject, AccessDenied"),
        ("403", 403, ConfigError, "the caller may not do PutObject, 403"),
        ("NoSuchBucket", 404, ConfigError, "there is no such bucket. Make it in aws.region, or correct the name."),
        ("NeverHeardOf", 400, ConfigError, "AWS refuses PutObject with NeverHeardOf"),
    ],
)
def test_answer_is_told_apart_by_its_code(code: str, status: int, kind: type[CrpbotError], words: str) -> None:
    error = told(answer(code, status))
    assert type(error) is kind
    assert words in str(error)
    assert "\n" not in str(error)


def test_answer_without_a_body_is_told_by_its_status() -> None:
    bare = ClientError({"Error": {"Code": "404"}, "ResponseMetadata": {}}, "HeadObject")  # type: ignore[typeddict-item]
    assert (code_of(bare), words_of(bare), is_denied(bare)) == ("404", "404", False)
    assert code_of(ClientError({}, "HeadObject")) == "unknown"
    assert is_denied(answer("AccessDenied", 403))


def test_what_is_no_fault_of_aws_passes_through() -> None:
    with pytest.raises(KeyError), translated("s3://bucket/key"):
        raise KeyError("ours")


def test_server_that_is_gone_is_worth_another_try(weed: Weed, monkeypatch: pytest.MonkeyPatch) -> None:
    weed.use(monkeypatch)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{free_port()}")
    folder = S3Folder(Aws(REGION, attempts=2), "s3://bucket")
    for ask in (lambda: folder.get("key"), lambda: folder.put("key", b""), lambda: list(folder.names())):
        with pytest.raises(TransientError, match=r"s3://.*: AWS does not answer .* Try again later\."):
            ask()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        (
            "AWS_PROFILE",
            "nobody",
            r"^AWS( s3)?: no credentials .*profile \(nobody\) could not be found.*Set AWS_PROFILE",
        ),
        ("AWS_CONFIG_FILE", "broken", r"^AWS( s3)?: .*Unable to parse config file"),
    ],
)
def test_environment_that_leads_nowhere_is_a_mistake_of_the_configuration(
    name: str, value: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken").write_text("[profile")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=words):
        Aws(REGION).client("s3")
