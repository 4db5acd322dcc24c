"""The manifest: what a model is and how it was made, as far as that makes the model what it is.

It counts for the bundle's hash, so it holds nothing that differs between two runs of the same training: no times, hosts,
prices or backends (those are in facts.py).
"""

from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    JsonValue,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from models_lib.architecture import DEFAULT_CLAMP, Architecture, EnsembleArchitecture, Member, RepairedArchitecture
from models_lib.bundle.layout import COMPOSED_VERSION, MANIFEST_FILE, READABLE_VERSIONS, SCHEMA_VERSION
from models_lib.bundle.parsing import Sha256, parse_json, parse_part
from models_lib.config import LabelSection, NetworkSection, SplitsSection
from models_lib.config.sections import SymbolName
from models_lib.envelope import Envelope
from models_lib.errors import BundleError
from models_lib.features import CURRENT, SERVING_BARS, WARM_UP_BARS, FeatureSet, feature_set

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
        """The features that models are trained on, as this code computes them."""
        return cls.of(CURRENT)

    @classmethod
    def of(cls, features: FeatureSet) -> Self:
        """The features of a set as this code computes them."""
        return cls(
            set=features.name,
            version=features.version,
            names=features.names,
            warm_up_bars=WARM_UP_BARS,
            serving_bars=SERVING_BARS,
            code_hash=features.code_hash(),
        )

    def feature_set(self) -> FeatureSet:
        """The set as this code has it, to compute the inputs with.

        Raises:
            BundleError: this code has no such set, or another version of it.
        """
        try:
            known = feature_set(self.set, self.names)
        except ValueError as error:
            raise _other_features(str(error)) from error
        for fact, now in (
            ("version", known.version),
            ("warm_up_bars", WARM_UP_BARS),
            ("serving_bars", SERVING_BARS),
        ):
            was = getattr(self, fact)
            if was != now:
                raise _other_features(f"features.{fact} is {was!r}, this code has {now!r}")
        return known


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

    @property
    def fitted_until(self) -> datetime:
        """Open time of the last bar whose label shares a bar with the label of a training row."""
        return self.train.last + self._reach

    @property
    def seen_until(self) -> datetime:
        """Open time of the last bar whose label shares a bar with the label of a row that the model was fitted or chosen on."""
        return self.validation.last + self._reach

    @property
    def _reach(self) -> timedelta:
        """A label looks ahead by the purge, and a label after it looks back by the embargo."""
        return timedelta(minutes=self.purge_minutes + self.embargo_minutes)

    @model_validator(mode="after")
    def _chronological(self) -> Self:
        if not self.train.last < self.validation.first <= self.validation.last < self.test.first:
            raise ValueError("train, validation and test must follow each other in time without overlap")
        return self


class RepairFacts(Part):
    """What an old model was given, and which file it was."""

    scaler: Literal["fitted", "own", "identity"]
    """fitted: on the training rows of given candles; own: the file's; identity: none, the inputs stay raw."""
    clamp: Annotated[float, Field(gt=0.0, le=DEFAULT_CLAMP)]
    """Largest |raw logit|, before the temperature."""
    source_name: Annotated[str, Field(min_length=1)]
    """Name of the old file."""
    source_sha256: Sha256
    """Its content."""


class Manifest(Part):
    """What the model is; every field counts for the bundle's hash."""

    schema_version: Literal[1, 2, 3] = SCHEMA_VERSION
    symbol: SymbolName
    family: Literal["v6", "v7", "v8", "v6-repaired", "v7-repaired", "ensemble"]
    """Generation of the network, equal to network.family; that of a repaired one; or two models together."""
    features: FeatureFacts
    envelope: EnvelopeFacts | None = None
    """None only in version 1."""
    label: LabelFacts
    splits: SplitFacts
    network: NetworkSection | None = None
    """None only in an ensemble, whose members have theirs."""
    repair: RepairFacts | None = None
    """Only of a repaired model."""
    members: tuple["MemberFacts", ...] = ()
    """Two, of an ensemble; none otherwise."""
    training: dict[str, JsonValue]
    """The training configuration without the fields that say where it ran; empty for what was not trained here."""
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
    def _version_goes_with_family(self) -> Self:
        if (self.schema_version == COMPOSED_VERSION) != (self.family not in _TRAINED):
            raise ValueError(f"family {self.family} cannot be of schema version {self.schema_version}")
        return self

    @model_validator(mode="after")
    def _family_is_the_networks(self) -> Self:
        has = (self.network is not None, self.repair is not None, len(self.members))
        wanted = (self.family != "ensemble", self.family.endswith("-repaired"), 2 if self.family == "ensemble" else 0)
        if has != wanted:
            raise ValueError(
                f"family {self.family} must have a network: {wanted[0]}, a repair: {wanted[1]}, members: {wanted[2]}; "
                f"has {has[0]}, {has[1]}, {has[2]}"
            )
        if self.network is not None and self.family.removesuffix("-repaired") != self.network.family:
            raise ValueError(f"family must equal network.family, was {self.family} and {self.network.family}")
        return self

    @model_validator(mode="after")
    def _members_go_together(self) -> Self:
        if not self.members:
            return self
        weights = [member.weight for member in self.members]
        if abs(sum(weights) - 1.0) > WEIGHT_TOLERANCE:
            raise ValueError(f"the members' weights must sum to 1, were {weights}")
        for place, member in enumerate(self.members):
            if member.manifest.family == "ensemble":
                raise ValueError(f"member {place} is an ensemble itself")
            for part, theirs, ours in _same_in_members(member.manifest, self):
                if theirs != ours:
                    raise ValueError(f"member {place}: {part} must be the ensemble's, was another")
        _check_joined(self.features, [member.manifest.features for member in self.members])
        return self

    @model_serializer(mode="wrap")
    def _without_what_is_empty(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Fields of later versions are absent from earlier ones, whose bytes and hashes stay as they were."""
        tree: dict[str, Any] = handler(self)
        return {name: value for name, value in tree.items() if name not in _OPTIONAL or getattr(self, name)}

    @property
    def holds_old_network(self) -> bool:
        """Whether a network in it is from a file that names no training rows: it may have learned from any."""
        return self.repair is not None or any(member.manifest.repair is not None for member in self.members)

    @property
    def architecture(self) -> Architecture:
        """What the tensors make up."""
        if self.members:
            return EnsembleArchitecture(tuple(member.as_member() for member in self.members))
        assert self.network is not None, "only an ensemble has none"
        return self.network if self.repair is None else RepairedArchitecture(self.network, self.repair.clamp)

    def to_json(self) -> dict[str, Any]:
        """Plain values, as written to manifest.json."""
        return self.model_dump(mode="json")


class MemberFacts(Part):
    """One of the two models of an ensemble."""

    bundle: Sha256
    """Hash of the bundle that it was taken from."""
    weight: Annotated[float, Field(ge=0.0, le=1.0)]
    """What its emitted logits are weighed with."""
    manifest: Manifest
    """What it is; no ensemble."""

    def as_member(self) -> Member:
        """Its part of the architecture."""
        architecture = self.manifest.architecture
        assert not isinstance(architecture, EnsembleArchitecture), "the manifest refuses it"
        return Member(architecture, len(self.manifest.features.names), self.weight)


WEIGHT_TOLERANCE = 1e-9
"""How far the weights of an ensemble may be from summing to 1."""
_TRAINED = frozenset({"v6", "v7", "v8"})
_OPTIONAL = frozenset({"envelope", "network", "repair", "members"})


def _same_in_members(member: Manifest, ensemble: Manifest) -> tuple[tuple[str, object, object], ...]:
    """What members must have in common with their ensemble: two models of different questions have no common answer."""
    return (
        ("symbol", member.symbol, ensemble.symbol),
        ("label.section", member.label.section, ensemble.label.section),
        ("label.classes", member.label.classes, ensemble.label.classes),
    )


def _check_joined(joined: FeatureFacts, members: list[FeatureFacts]) -> None:
    """Refuses features that are not the members' one after the other."""
    wanted = {
        "set": "+".join(facts.set for facts in members),
        "names": tuple(chain.from_iterable(facts.names for facts in members)),
        "warm_up_bars": max(facts.warm_up_bars for facts in members),
        "serving_bars": max(facts.serving_bars for facts in members),
    }
    wrong = [name for name, value in wanted.items() if getattr(joined, name) != value]
    if wrong:
        raise ValueError(f"features.{wrong[0]} must be the members' one after the other")


def parse_manifest(content: bytes) -> Manifest:
    """The manifest of a bundle.

    Raises:
        BundleError: damaged, of an unknown schema version, or with unknown, missing or impossible fields.
    """
    tree = parse_json(content, name=MANIFEST_FILE)
    version = tree.get("schema_version")
    if type(version) is not int or version not in READABLE_VERSIONS:
        readable = f"{', '.join(map(str, READABLE_VERSIONS[:-1]))} or {READABLE_VERSIONS[-1]}"
        raise BundleError(
            f"{MANIFEST_FILE}: schema version {version!r} is not the {readable} that this code reads. "
            f"Use the version of crpbot that wrote the bundle, or train again."
        )
    return parse_part(Manifest, content, name=MANIFEST_FILE)


def _other_features(fact: str) -> BundleError:
    return BundleError(f"{MANIFEST_FILE}: {fact}. Use the version of crpbot that wrote the bundle, or train again.")


def _utc(epoch_ms: int) -> datetime:
    return datetime.fromtimestamp(epoch_ms / 1000, tz=UTC)
