"""The manifest: what a model is and how it was made, as far as that makes the model what it is.

It counts for the bundle's hash, so it holds nothing that differs between two runs of the same training: no times, hosts,
prices or backends (those are in facts.py).
"""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, FiniteFloat, JsonValue, model_validator

from models_lib.bundle.layout import MANIFEST_FILE, READABLE_VERSIONS, SCHEMA_VERSION
from models_lib.bundle.parsing import Sha256, parse_json, parse_part
from models_lib.config import LabelSection, NetworkSection, SplitsSection, TrainingSection
from models_lib.config.sections import SymbolName
from models_lib.envelope import Envelope
from models_lib.errors import BundleError
from models_lib.features import (
    FEATURE_NAMES,
    FEATURE_SET,
    FEATURE_SET_VERSION,
    SERVING_BARS,
    WARM_UP_BARS,
    feature_code_hash,
)

WHERE_NOT_WHAT = frozenset({"backend", "device", "time_limit_minutes", "max_parallel"})
"""Fields of TrainingSection that say where a model is trained, not which model comes out."""

Count = Annotated[int, Field(ge=0)]


class Part(BaseModel):
    """A frozen, closed, strictly typed piece of the manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)


class FeatureFacts(Part):
    """The inputs of the network, in order."""

    set: str
    """Name of the feature set."""
    version: int
    """Version of that set."""
    names: Annotated[tuple[str, ...], Field(min_length=1)]
    """Ordered names; column k of the network's input is names[k]."""
    warm_up_bars: Count
    """Rows without values at the start of each segment."""
    serving_bars: Annotated[int, Field(gt=0)]
    """Newest bars that give the same newest row as the whole history."""
    code_hash: Sha256
    """SHA-256 of the code that computed them."""

    @classmethod
    def current(cls) -> Self:
        """The features as this code computes them."""
        return cls(
            set=FEATURE_SET,
            version=FEATURE_SET_VERSION,
            names=tuple(FEATURE_NAMES),
            warm_up_bars=WARM_UP_BARS,
            serving_bars=SERVING_BARS,
            code_hash=feature_code_hash(),
        )


class EnvelopeFacts(Part):
    """Where the training rows lay; the runtime refuses rows far outside."""

    low: Annotated[tuple[FiniteFloat, ...], Field(min_length=1)]
    """Lower end of each feature's range, in the order of the names."""
    high: Annotated[tuple[FiniteFloat, ...], Field(min_length=1)]
    """Upper end of each feature's range."""
    max_outside: Count
    """Features outside their range that a row may have."""

    @classmethod
    def of(cls, envelope: Envelope) -> Self:
        """As fitted."""
        return cls(
            low=tuple(envelope.low.tolist()), high=tuple(envelope.high.tolist()), max_outside=envelope.max_outside
        )

    @model_validator(mode="after")
    def _both_ends(self) -> Self:
        if len(self.low) != len(self.high):
            raise ValueError(f"low and high must be as many, were {len(self.low)} and {len(self.high)}")
        return self

    def envelope(self) -> Envelope:
        """To ask about rows."""
        low, high = (np.asarray(ends, dtype=np.float32) for ends in (self.low, self.high))
        return Envelope(low, high, self.max_outside)


class LabelFacts(Part):
    """What the classes mean."""

    section: LabelSection
    """Definition of the label."""
    threshold: Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
    """Size below which a label value is NEUTRAL, as fitted on the training rows; in log price, or in multiples of
    volatility for `volatility_scaled`."""
    span_minutes: Annotated[int, Field(gt=0)]
    """Bars that the label looks ahead."""
    classes: tuple[Literal["DOWN"], Literal["NEUTRAL"], Literal["UP"]] = ("DOWN", "NEUTRAL", "UP")
    """Meaning of the network's outputs, in order."""


class Span(Part):
    """The rows of one split: open times of the first and the last, and how many."""

    first: AwareDatetime
    last: AwareDatetime
    rows: Annotated[int, Field(gt=0)]

    @classmethod
    def of_ms(cls, first_ms: int, last_ms: int, rows: int) -> Self:
        """The span between two open times in milliseconds since 1970 UTC."""
        return cls(first=_utc(first_ms), last=_utc(last_ms), rows=rows)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.first > self.last:
            raise ValueError(f"first must not lie after last, was {self.first} > {self.last}")
        return self


class SplitFacts(Part):
    """The chronological parts that the model was fitted, chosen and judged on."""

    section: SplitsSection
    train: Span
    validation: Span
    test: Span
    purge_minutes: Count
    embargo_minutes: Count

    @model_validator(mode="after")
    def _chronological(self) -> Self:
        if not self.train.last < self.validation.first <= self.validation.last < self.test.first:
            raise ValueError("train, validation and test must follow each other in time without overlap")
        return self


class Manifest(Part):
    """What the model is; every field counts for the bundle's hash."""

    schema_version: Literal[1, 2] = SCHEMA_VERSION
    symbol: SymbolName
    family: Literal["v6", "v7", "v8"]
    """Generation of the network; equal to network.family."""
    features: FeatureFacts
    envelope: EnvelopeFacts | None = None
    """None only in version 1."""
    label: LabelFacts
    splits: SplitFacts
    network: NetworkSection
    training: dict[str, JsonValue]
    """The training configuration without the fields that say where it ran."""
    data_hash: Sha256
    """SHA-256 of the candles after filling."""
    simulated_market: Literal["default", "null", "iid", "planted"] | None
    """Kind of the simulated market that the candles come from; None: real candles, whatever the source."""
    seeds: dict[str, int]
    """Every seed that the model depends on, by purpose."""
    valid_days: Annotated[int, Field(gt=0)]
    """Days after which the runtime refuses the bundle."""

    @model_validator(mode="after")
    def _envelope_goes_with_version(self) -> Self:
        if (self.envelope is None) != (self.schema_version == 1):
            raise ValueError(
                f"schema version {self.schema_version} must come {'without' if self.envelope else 'with'} an envelope"
            )
        return self

    @model_validator(mode="after")
    def _family_is_the_networks(self) -> Self:
        if self.family != self.network.family:
            raise ValueError(f"family must equal network.family, was {self.family} and {self.network.family}")
        return self

    def to_json(self) -> dict[str, Any]:
        """Plain values, as written to manifest.json."""
        return self.model_dump(mode="json", exclude={"envelope"} if self.envelope is None else None)


def identity_of_training(training: TrainingSection) -> dict[str, JsonValue]:
    """The training configuration as far as it makes the model what it is: the same on every backend."""
    return training.model_dump(mode="json", exclude=set(WHERE_NOT_WHAT))


def parse_manifest(content: bytes) -> Manifest:
    """The manifest of a bundle.

    Raises:
        BundleError: damaged, of an unknown schema version, or with unknown, missing or impossible fields.
    """
    tree = parse_json(content, name=MANIFEST_FILE)
    version = tree.get("schema_version")
    if type(version) is not int or version not in READABLE_VERSIONS:
        readable = " or ".join(map(str, READABLE_VERSIONS))
        raise BundleError(
            f"{MANIFEST_FILE}: schema version {version!r} is not the {readable} that this code reads. "
            f"Use the version of crpbot that wrote the bundle, or train again."
        )
    return parse_part(Manifest, content, name=MANIFEST_FILE)


def _utc(epoch_ms: int) -> datetime:
    return datetime.fromtimestamp(epoch_ms / 1000, tz=UTC)
