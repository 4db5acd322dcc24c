"""What goes wrong between this machine and AWS, as errors that answer "what should I do?".

    no answer, 5xx, throttling           TransientError: try again later; boto3 has tried five times
    no credentials, expired, unknown     ConfigError: set them in the environment
    access denied                        ConfigError: names the action that the caller may not do
    anything else                        ConfigError with AWS's code and words

What does not belong here: codes that are an answer and no fault (a lost race, a missing key): whoever asks catches them
first.
"""

import contextlib
from collections.abc import Iterator
from typing import Final

from botocore.exceptions import (
    BotoCoreError,
    ChecksumError,
    ClientError,
    CredentialRetrievalError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    LoginError,
    MetadataRetrievalError,
    NoAuthTokenError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    RefreshWithMFAUnsupportedError,
    ResponseStreamingError,
    SSOError,
    TokenRetrievalError,
    UnknownCredentialError,
)
from botocore.exceptions import (
    ConnectionError as NoConnection,
)

from models_lib.errors import ConfigError, CrpbotError, TransientError, excerpt

_NO_CREDENTIALS = (
    NoCredentialsError,
    PartialCredentialsError,
    CredentialRetrievalError,
    LoginError,
    MetadataRetrievalError,
    NoAuthTokenError,
    ProfileNotFound,
    RefreshWithMFAUnsupportedError,
    SSOError,
    TokenRetrievalError,
    UnknownCredentialError,
)
_PASSING = (
    NoConnection,
    HTTPClientError,
    IncompleteReadError,
    ResponseStreamingError,
    ChecksumError,
    FlexibleChecksumError,
)
"""The last two: damaged on the way. Whoever knows that an object itself is damaged says so before."""
_PASSING_CODES: Final = frozenset(
    {
        "InternalError",
        "InternalFailure",
        "InternalServerError",
        "OperationAborted",
        "PriorRequestNotComplete",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServiceException",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
_WRONG_CREDENTIALS: Final = frozenset(
    {
        "AuthFailure",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "InvalidToken",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_DENIED: Final = frozenset(
    {"AccessDenied", "AccessDeniedException", "AllAccessDisabled", "AuthorizationError", "Forbidden", "403"}
)
_SERVER_FAULT: Final = 500
_CREDENTIALS_REMEDY: Final = "Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or renew the session."


def code_of(error: ClientError) -> str:
    """AWS's code of an error, such as NoSuchKey; a bare status such as "404" where an answer has no body."""
    return str(error.response.get("Error", {}).get("Code", "unknown"))


def words_of(error: ClientError) -> str:
    """AWS's own words, as one line that fits a message."""
    return excerpt(error.response.get("Error", {}).get("Message") or code_of(error))


def is_denied(error: ClientError) -> bool:
    """Whether the caller may not do it; what is then asked about is unknown, not bad."""
    return code_of(error) in _DENIED


@contextlib.contextmanager
def translated(subject: str) -> Iterator[None]:
    """Faults of botocore within the body become ours.

    Args:
        subject: what is asked, as the message begins, such as "s3://bucket/key".

    Raises:
        TransientError: it may pass by itself.
        ConfigError: it does not.
    """
    try:
        yield
    except ClientError as error:
        raise _of_answer(subject, error) from error
    except _NO_CREDENTIALS as error:
        raise ConfigError(f"{subject}: no credentials for AWS ({excerpt(error)}). {_CREDENTIALS_REMEDY}") from error
    except _PASSING as error:
        raise TransientError(f"{subject}: AWS does not answer ({excerpt(error)}). Try again later.") from error
    except BotoCoreError as error:
        raise ConfigError(
            f"{subject}: AWS cannot be asked ({excerpt(error)}). Check aws.region and the names."
        ) from error


def _of_answer(subject: str, error: ClientError) -> CrpbotError:
    code, words = code_of(error), words_of(error)
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in _PASSING_CODES or (status >= _SERVER_FAULT and code != "NotImplemented"):
        return TransientError(f"{subject}: AWS answers {code} ({words}). Try again later.")
    if code in _WRONG_CREDENTIALS:
        return ConfigError(f"{subject}: AWS refuses the credentials, {code} ({words}). {_CREDENTIALS_REMEDY}")
    if code in _DENIED:
        action = error.operation_name
        return ConfigError(
            f"{subject}: the caller may not do {action}, {code} ({words}). Allow it in the caller's policy, or use "
            f"other credentials."
        )
    if code == "NoSuchBucket":
        return ConfigError(f"{subject}: there is no such bucket. Make it in aws.region, or correct the name.")
    return ConfigError(f"{subject}: AWS refuses {error.operation_name} with {code} ({words}).")
