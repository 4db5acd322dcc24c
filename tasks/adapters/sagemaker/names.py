"""Names of jobs and of what they read and write, made from content alone: the same training gets the same names.

A job's name says whose it is, what it trains and which attempt it is, so that whoever asks for the same training finds
the job that runs, or ran, instead of paying for a second one.

What does not belong here: asking AWS which of the names are taken (jobs.py).
"""

import re
from dataclasses import dataclass
from typing import Final

from models_lib.files import canonical_json, sha256_bytes

PREFIX: Final = "crpbot"
LONGEST_NAME: Final = 63
"""Characters of a job's name, SageMaker's limit."""
_IDENTITY_CHARACTERS: Final = 12
_ATTEMPT_CHARACTERS: Final = 5
_LONGEST_SLUG: Final = LONGEST_NAME - len(PREFIX) - _IDENTITY_CHARACTERS - _ATTEMPT_CHARACTERS - 3


def job_identity(*, inputs_sha256: str, image: str, archive_sha256: str, instance_type: str, device: str) -> str:
    """SHA-256 in hex of everything that could make another model: what is trained, by which code, on what.

    Limits, volume and spot stay out: they change what a job may cost, not what comes out, and a job that runs, or is
    done, is never paid for twice.
    """
    parts = {
        "inputs": inputs_sha256,
        "image": image,
        "archive": archive_sha256,
        "instance": instance_type,
        "device": device,
    }
    return sha256_bytes(canonical_json(parts))


def job_name(symbol: str, identity: str, attempt: int) -> str:
    """As in `crpbot-btc-usd-0123456789ab-1`: letters, digits and single hyphens, at most 63 characters.

    Args:
        symbol: whose.
        identity: as `job_identity` gives it.
        attempt: from 1.
    """
    return f"{PREFIX}-{slug(symbol)}-{identity[:_IDENTITY_CHARACTERS]}-{attempt}"


def slug(symbol: str) -> str:
    """The symbol in small letters, digits and single hyphens, as in `btc-usd`."""
    plain = re.sub(r"[^a-z0-9]+", "-", symbol.lower()).strip("-")
    return plain[:_LONGEST_SLUG].rstrip("-") or "symbol"


@dataclass(frozen=True)
class Keys:
    """Where everything of one training lies, relative to training.sagemaker.uri.

    Attributes:
        inputs: folder of the channel's files, named by what is trained.
        archive: the source archive, named by its content.
        checkpoints: folder, named by the job's identity: the next attempt goes on where this one was ended.
        models: folder in which each job has one of its own.
    """

    inputs: str
    archive: str
    checkpoints: str
    models: str = "models"

    @classmethod
    def of(cls, *, inputs_sha256: str, archive_sha256: str, identity: str) -> "Keys":
        """The keys of one training."""
        return cls(f"inputs/{inputs_sha256}", f"code/{archive_sha256}.tar.gz", f"checkpoints/{identity}")
