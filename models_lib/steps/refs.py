"""What one step hands to the next: small frozen values that name a file by path and hash, never the data themselves.

They cross process borders and Prefect's result store as JSON, so they hold plain values only. A step that receives a
reference reads the file; `checked` refuses one whose content is not what the reference says.

What does not belong here: the data, and any decision about them.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from models_lib.bundle.hashes import verify_hashes
from models_lib.config import ControlName
from models_lib.errors import DataError
from models_lib.files import sha256_file


class Reference(BaseModel):
    """A frozen, closed value."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def check_files(self) -> None:
        """Returns when every file that this value names is what it was.

        Raises:
            DataError: a file is missing or differs.
            BundleError: the same of a bundle folder.
        """
        for name in type(self).model_fields:
            part = getattr(self, name)
            if isinstance(part, Reference):
                part.check_files()


class FileRef(Reference):
    """A file of the run folder by path and content."""

    path: Path
    sha256: str

    @classmethod
    def of(cls, path: Path) -> "FileRef":
        """The reference of the file as it is now."""
        return cls(path=path, sha256=sha256_file(path))

    def check_files(self) -> None:
        """As `checked`."""
        self.checked()

    def checked(self) -> Path:
        """The path, after its content was found to be what the reference says.

        Raises:
            DataError: when the file is missing or differs.
        """
        if not self.path.is_file():
            raise DataError(f"{self.path}: the file of an earlier step is gone. Start the run again.")
        found = sha256_file(self.path)
        if found != self.sha256:
            raise DataError(
                f"{self.path}: the file of an earlier step changed (SHA-256 {found[:12]}, was {self.sha256[:12]}). "
                f"Start the run again."
            )
        return self.path


class CandlesRef(Reference):
    """Checked and filled candles, and what the checks found."""

    symbol: str
    candles: FileRef
    report: FileRef
    data_hash: str
    rows: int


class FeaturesRef(Reference):
    """The feature matrix, float32 [rows, 72], row-major .npy."""

    matrix: FileRef
    rows: int


class LabelsRef(Reference):
    """Label classes, known part, forward return and the rows of each split."""

    arrays: FileRef
    facts: FileRef
    train_rows: int
    validation_rows: int
    test_rows: int


class ScalerRef(Reference):
    """Mean and scale of every feature, float64, fitted on the training rows."""

    scaler: FileRef


class TrainedRef(Reference):
    """Weights of the best epoch and the history of all."""

    weights: FileRef
    history: FileRef
    best_epoch: int
    stopped_by_gates: tuple[str, ...]
    paid_job: str | None = None
    """Name of the job that was paid for it; None where nothing was."""


class TemperatureRef(Reference):
    """The fitted temperature and the sweep beside it."""

    temperature: float
    study: FileRef


class Prepared(Reference):
    """Everything about one symbol's data that training and judging read."""

    candles: CandlesRef
    features: FeaturesRef
    labels: LabelsRef
    scaler: ScalerRef

    @property
    def symbol(self) -> str:
        """The symbol of the candles."""
        return self.candles.symbol


class Fitted(Reference):
    """A trained network with its fitted temperature."""

    trained: TrainedRef
    temperature: TemperatureRef


class CandidateRef(Reference):
    """A complete bundle folder that nobody has judged yet."""

    folder: Path
    bundle: str

    def check_files(self) -> None:
        """Verifies every hash of the folder."""
        verify_hashes(self.folder, expected_hash=self.bundle)


class JudgementRef(Reference):
    """Gates and metrics of a candidate, measured on what was saved and read back."""

    judgement: FileRef
    arrays: FileRef
    failed_blocking: tuple[str, ...]
    champion: str | None
    judged_at: AwareDatetime
    """A judgement that is taken over from an earlier run stays as old as it is."""


class ControlRef(Reference):
    """What a training that must find nothing came to, beside a model."""

    name: ControlName
    metrics: dict[str, Any] | None = None
    """Figures of its test rows, by the names of the model's; None: it came to nothing."""
    alarm: dict[str, Any] | None = None
    """Name, value, limit and words of what it could not know honestly."""
    rows: dict[str, int] | None = None
    epochs: int | None = None
    device: str | None = None
    """Of this machine."""
    seconds: float | None = None
    reason: str = ""
    """Why it came to nothing."""


class StoredRef(Reference):
    """The candidate in the store, with its report."""

    bundle: str
    report: Path


class PromotionRef(Reference):
    """What the registry answered."""

    outcome: Literal["promoted", "held"]
    reason: str
    awaits_approval: bool = False
    """Held for no other reason than that nobody has approved it yet."""


class Judged(Reference):
    """A judged candidate in the store, with everything that its release and its page need."""

    prepared: Prepared
    fitted: Fitted
    judgement: JudgementRef
    stored: StoredRef
    seconds: dict[str, float]
    controls: tuple[ControlRef, ...] = ()
    """In the order of the configuration; empty where none was asked for."""
    peak_rss_mb: dict[str, float] = Field(default_factory=dict)
    """As the clock of the steps measures it; empty in what was written before it did."""
