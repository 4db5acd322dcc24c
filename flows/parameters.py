"""What a person may choose when a run is triggered: one typed model, shown as a form by the Prefect UI."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class RetrainParams(BaseModel):
    """Choices of one retrain; everything has a default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    config: Path | None = Field(
        default=None,
        title="Configuration file",
        description="YAML file on the worker, such as configs/default.yaml. Empty: the built-in defaults.",
    )
    symbols: tuple[str, ...] | None = Field(
        default=None,
        title="Symbols",
        description="Symbols to train, such as BTC-USD. Empty: every configured one.",
    )
    settings: tuple[str, ...] = Field(
        default=(),
        title="Settings",
        description="Values over the configuration, one dotted.key=value each, such as data.days=50.",
    )

    @property
    def label(self) -> str:
        """A short text for the run's name."""
        return "+".join(self.symbols) if self.symbols else "every-symbol"
