"""What a person may choose when a run is triggered: one typed model, shown as a form by the Prefect UI.

The patterns and limits stand in the form's schema, by which Prefect's server refuses a wrong choice before a run is
made. In Python the same choices are refused by the configuration, whose messages say more.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from models_lib.config import ControlName

Symbol = Annotated[str, Field(json_schema_extra={"pattern": r"^[A-Z0-9]{2,15}-[A-Z0-9]{2,10}$"})]
Setting = Annotated[str, Field(json_schema_extra={"pattern": r"^[a-z_0-9]+(\.[a-z_0-9]+)*=", "maxLength": 1_000})]


class RetrainParams(BaseModel):
    """Choices of one retrain; everything has a default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    config: Path | None = Field(
        default=None,
        title="Configuration file",
        description="YAML file on the worker, such as configs/default.yaml. "
        "Empty: the one that CRPBOT_CONFIG names there, else the built-in defaults.",
    )
    symbols: tuple[Symbol, ...] | None = Field(
        default=None,
        title="Symbols",
        description="Symbols to train, such as BTC-USD. Empty: every configured one.",
    )
    settings: tuple[Setting, ...] = Field(
        default=(),
        title="Settings",
        description="Values over the configuration, one dotted.key=value each, such as data.days=50.",
    )
    days: Annotated[int, Field(ge=14, le=3_650)] | None = Field(
        default=None,
        title="Days",
        description="Length of the simulated market in days; a folder of candles is used whole. Empty: as configured.",
    )
    fanout: Literal["as configured", "local", "deployment"] = Field(
        default="as configured",
        title="Fan-out",
        description="Where the symbols are trained: in the run's own process, or as one run each on the work pool.",
    )
    approval: Literal["as configured", "auto", "required"] = Field(
        default="as configured",
        title="Approval",
        description="Whether a person must approve what passed its gates before it is promoted.",
    )

    controls: tuple[ControlName, ...] | None = Field(
        default=None,
        title="Controls",
        description="Trainings beside each model that must find nothing: shuffled (labels permuted), signflip (random signs "
        "of the returns). They find leaks, cost a training each on this machine, and change no verdict. Empty: as configured.",
    )
    payment: Literal["as configured", "approved"] = Field(
        default="as configured",
        title="Payment",
        description="Approved: whoever starts this run approves what its jobs on rented machines cost, within the budgets.",
    )

    @property
    def pays(self) -> bool:
        """Whether what the run costs was approved by whoever started it."""
        return self.payment == "approved"

    @property
    def overrides(self) -> tuple[str, ...]:
        """Every choice over the configuration as `dotted.key=value`; the form's own fields come last and win."""
        chosen = {
            "data.days": self.days,
            "orchestration.fanout": self._unless_configured(self.fanout),
            "approval.promotion": self._unless_configured(self.approval),
            "evaluation.controls": f"[{', '.join(dict.fromkeys(self.controls))}]" if self.controls else None,
        }
        return (*self.settings, *(f"{name}={value}" for name, value in chosen.items() if value is not None))

    @property
    def label(self) -> str:
        """A short text for the run's name."""
        return "+".join(self.symbols) if self.symbols else "every-symbol"

    @staticmethod
    def _unless_configured(choice: str) -> str | None:
        return None if choice == "as configured" else choice


class DeployParams(BaseModel):
    """Choices of one deployment of champions; everything has a default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    config: Path | None = Field(
        default=None,
        title="Configuration file",
        description="YAML file on the worker. Empty: the one that CRPBOT_CONFIG names there, else the built-in defaults.",
    )
    symbols: tuple[Symbol, ...] | None = Field(
        default=None,
        title="Symbols",
        description="Symbols whose champions are deployed, such as BTC-USD. Empty: every one that has a champion.",
    )
    target: Annotated[str, Field(json_schema_extra={"pattern": r"^[a-z0-9][a-z0-9_-]{0,39}$"})] | None = Field(
        default=None,
        title="Target",
        description="Name under deployment.targets of the configuration. Empty: deployment.target.",
    )
    settings: tuple[Setting, ...] = Field(
        default=(),
        title="Settings",
        description="Values over the configuration, one dotted.key=value each.",
    )

    @property
    def where(self) -> str:
        """A short text for the run's name."""
        return self.target or "configured-target"


class CompareParams(BaseModel):
    """Choices of one comparison of a repaired model, V8 and their ensemble."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    symbol: Symbol = Field(title="Symbol", description="Whose models are compared, such as BTC-USD.")
    repaired: str = Field(
        title="Repaired model",
        description="Bundle of the repaired model: its folder on the worker, or the start of a kept hash.",
    )
    v8: str | None = Field(
        default=None,
        title="V8",
        description="Bundle of the other model, named in the same way. Empty: the symbol's champion.",
    )
    candles: Path | None = Field(
        default=None,
        title="Candles",
        description="Folder with <SYMBOL>.parquet on the worker. Empty: the configured source.",
    )
    promote: bool = Field(
        default=False,
        title="Promote the winner",
        description="Whether the winner becomes champion, by the rules of every promotion. It is not deployed.",
    )
    config: Path | None = Field(
        default=None,
        title="Configuration file",
        description="YAML file on the worker. Empty: the one that CRPBOT_CONFIG names there, else the built-in defaults.",
    )
    settings: tuple[Setting, ...] = Field(
        default=(),
        title="Settings",
        description="Values over the configuration, one dotted.key=value each.",
    )
