"""run.json: the facts of the run that made and judged a bundle. They lie beside it, outside its identity.

Two runs of the same training give the same bundle and two sets of facts. The registry reads the gate report from here.

What does not belong here: anything that the model's answers depend on (manifest.py).
"""

import math
import operator
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, model_validator

from models_lib.bundle.layout import RUN_FILE
from models_lib.bundle.parsing import Sha256, parse_part
from models_lib.config import GatesSection
from models_lib.config.sections import Severity, SymbolName

CHAMPION_GATE = "not_worse_than_champion"
FACTS_VERSION: Final = 1

RunId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]
Figure = float | tuple[float, float] | None


class Fact(BaseModel):
    """A frozen, closed piece of run.json."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


_PASSES: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "scaler_present": operator.gt,
    "feature_normalisation": operator.lt,
    "logit_range": operator.lt,
    "overconfidence": operator.lt,
    "finite": operator.le,
    "calibration_error": operator.lt,
    "accuracy": operator.ge,
    "beats_mechanical_rule": operator.gt,
    "beats_driftless_rule": operator.gt,
    "not_worse_than_champion": operator.ge,
    "edge_after_costs": operator.gt,
    "feature_drift": operator.le,
}
"""What a value must be to its limit when the gate passed; some gates ask for more. Bands: within, ends included."""


class GateFact(Fact):
    """What one gate measured and decided, as `GateResult.to_json` gives it."""

    name: str
    split: str
    value: Figure
    """None: not measured, which never passes."""
    limit: Figure
    severity: Severity
    passed: bool
    note: str = ""

    @model_validator(mode="after")
    def _unmeasured_never_passes(self) -> Self:
        figures = self.value if isinstance(self.value, tuple) else (self.value,)
        if self.passed and not all(figure is not None and math.isfinite(figure) for figure in figures):
            raise ValueError(f"gate {self.name} has no measured value, so it cannot have passed")
        return self

    @model_validator(mode="after")
    def _passed_by_its_own_figures(self) -> Self:
        if self.passed and not self._fits():
            raise ValueError(f"gate {self.name} cannot have passed with {self.value} against {self.limit}")
        return self

    def _fits(self) -> bool:
        match self.value, self.limit:
            case (tuple() as value, tuple() as limit):
                return None not in limit and limit[0] <= value[0] and value[1] <= limit[1]
            case (float() as value, float() as limit):
                holds = _PASSES.get(self.name)
                return holds is not None and holds(value, limit)
        return False

    @property
    def blocks(self) -> bool:
        """Whether this result keeps the bundle from being promoted."""
        return self.severity == "blocking" and not self.passed


class RunFacts(Fact):
    """Where a bundle comes from and how it was judged."""

    facts_version: Literal[1] = FACTS_VERSION
    run_id: RunId
    symbol: SymbolName
    bundle: Sha256
    """Hash of the bundle that these facts are about."""
    started_at: AwareDatetime
    judged_at: AwareDatetime
    host: str
    commit: str | None
    """Commit of the code; None outside a repository."""
    uncommitted_diff: str | None
    """What differed from that commit; empty for nothing, None outside a repository."""
    versions: dict[str, str]
    """Library -> version."""
    backend: str
    cost_usd: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] | None = 0.0
    """What was billed for the job that trained it; 0 for a training on machines of our own. None: paid, and not known."""
    champion: Sha256 | None
    """The champion that the bundle was judged against; promotion compares and sets against it."""
    gates: tuple[GateFact, ...]
    metrics: dict[str, JsonValue]
    words: tuple[str, ...] = ()
    """Words that every verdict, notification and signal of this bundle carries."""
    config: dict[str, JsonValue]
    """The resolved configuration of the run."""
    data: dict[str, JsonValue] = {}
    """What the checks of the candles found."""
    seconds: dict[str, float] = {}
    """Duration of each step."""

    @model_validator(mode="after")
    def _gates_are_those_of_the_configuration(self) -> Self:
        wanted = GatesSection.model_validate(self.config.get("gates", {})).model_dump()
        for gate in self.gates:
            if gate.name in wanted and gate.split != "validation" and not _is_of(gate, wanted[gate.name]):
                raise ValueError(
                    f"gate {gate.name} was not judged by the limit and severity of the run's configuration"
                )
        return self

    def says_the_same(self, other: "RunFacts") -> bool:
        """Whether both came to the same judgement, gate by gate, against the same champion."""
        return (self.gates, self.champion, self.words) == (other.gates, other.champion, other.words)

    def failed_blocking(self) -> tuple[str, ...]:
        """Names of the blocking gates that failed."""
        return tuple(gate.name for gate in self.gates if gate.blocks)

    def missing_gates(self) -> tuple[str, ...]:
        """Gates that have no result: what was not measured has failed. The champion's counts if there was one."""
        wanted = [name for name in GatesSection.model_fields if name != CHAMPION_GATE or self.champion is not None]
        judged = {gate.name for gate in self.gates}
        return tuple(name for name in wanted if name not in judged)

    def to_json(self) -> dict[str, Any]:
        """Plain values, as written to run.json."""
        return self.model_dump(mode="json")


def parse_facts(content: bytes) -> RunFacts:
    """The facts in run.json.

    Raises:
        BundleError: damaged.
    """
    return parse_part(RunFacts, content, name=RUN_FILE)


def _is_of(gate: GateFact, wanted: Mapping[str, Any]) -> bool:
    """Whether the result carries the configured severity and limit; drift limits may be wider by a feature's own past."""
    if gate.severity != wanted["severity"]:
        return False
    if "low" in wanted:
        return gate.limit == (float(wanted["low"]), float(wanted["high"]))
    if gate.name == "feature_drift":
        return gate.limit is None or (isinstance(gate.limit, float) and gate.limit >= float(wanted["limit"]))
    return gate.limit == float(wanted.get("limit", 0.0))
