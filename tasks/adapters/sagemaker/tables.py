"""Images, machines and prices as data with dates: what may be used, on what, and for how much.

The tables are reviewed by people (tables.yaml says against what). A tag is never composed from parts: AWS changed the form
of its tags between versions, and a tag that looks right but does not exist costs a failed job. Prices are those of machines
on demand, and hold for spot too: AWS bills the seconds of spot at a lower rate by counting fewer of them
(BillableTimeInSeconds), so a price on demand is the most that either costs.

What does not belong here: asking AWS whether an image exists (checks) or what a machine costs now (prices.py).
"""

import difflib
import re
from collections import Counter
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from importlib import metadata, resources
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import Field, ValidationError, model_validator

from models_lib.config import SageMakerSection, Section, TrainingSection
from models_lib.config.loading import explain, read_sections
from models_lib.config.section import PositiveFloat, PositiveInt
from models_lib.costs.prices import Price
from models_lib.errors import ConfigError

Device = Literal["cpu", "gpu"]
Version = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)+$")]
Account = Annotated[str, Field(pattern=r"^[0-9]{12}$")]
Capability = Annotated[str, Field(pattern=r"^[0-9]+\.[0-9]$")]
Tag = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$")]
Region = Annotated[str, Field(pattern=r"^[a-z]{2}(-[a-z]+)+-[0-9]$")]
MachineType = Annotated[str, Field(pattern=r"^ml\.[a-z0-9-]+\.[a-z0-9]+$")]

PRICE_TABLE: Final = "price table"
_SHIPPED: Final = "tables.yaml"
_URI: Final = re.compile(
    r"^(?P<account>[0-9]{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?"
    r"/(?P<repository>[a-z0-9][a-z0-9._/-]*)(:(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127})|@(?P<digest>sha256:[0-9a-f]{64}))$"
)


class ImageRow(Section):
    """One image of AWS's, whole as it was read."""

    key: str
    """By which training.sagemaker.image names it."""
    repository: str
    tag: Tag
    also: tuple[Tag, ...] = ()
    """Other tags of the same image."""
    torch: Version
    python: Version
    device: Device
    cuda: Version | None = None
    ga: date
    """When it came out."""
    end_of_patch: date
    """Nobody mends it from this day on."""

    @model_validator(mode="after")
    def _a_gpu_has_cuda(self) -> Self:
        if (self.device == "gpu") != (self.cuda is not None):
            raise ValueError("cuda must be given for an image of device gpu, and only there")
        if self.end_of_patch <= self.ga:
            raise ValueError(f"end_of_patch must be after ga ({self.ga}), was {self.end_of_patch}")
        return self


class Instance(Section):
    """One kind of machine."""

    type: MachineType
    device: Device
    gpu: str | None = None
    """Name of its GPU, such as A10G."""
    gpu_architecture: Capability | None = None
    """Compute capability of that GPU."""
    vcpus: PositiveInt
    memory_gib: PositiveInt

    @model_validator(mode="after")
    def _a_gpu_is_described(self) -> Self:
        given = (self.gpu is not None, self.gpu_architecture is not None)
        if given != (self.device == "gpu",) * 2:
            raise ValueError("gpu and gpu_architecture must be given for device gpu, and only there")
        return self


class PriceRow(Section):
    """What a kind of machine costs in a region, on demand, and when that was seen."""

    type: MachineType
    region: Region
    usd_per_hour: PositiveFloat
    as_of: date


class Tables(Section):
    """Everything of the tables."""

    reviewed: date
    """When a person last held them against their sources."""
    accounts: dict[Region, Account]
    """Of AWS's image registries, by region."""
    images: tuple[ImageRow, ...]
    cuda: dict[Version, Capability]
    """CUDA -> the lowest compute capability that torch is built for with it."""
    instances: tuple[Instance, ...]
    prices: tuple[PriceRow, ...] = ()

    @model_validator(mode="after")
    def _each_row_is_there_once(self) -> Self:
        keys = Counter(
            [f"image {row.key}" for row in self.images]
            + [f"tag {row.repository}:{tag}" for row in self.images for tag in (row.tag, *row.also)]
            + [f"instance {row.type}" for row in self.instances]
            + [f"price of {row.type} in {row.region}" for row in self.prices]
        )
        if twice := sorted(key for key, count in keys.items() if count > 1):
            raise ValueError(f"rows must be distinct, but there is a second {', '.join(twice)}")
        unknown = {row.cuda for row in self.images if row.cuda is not None} - set(self.cuda)
        if unknown:
            raise ValueError(f"cuda must name the lowest compute capability of {', '.join(sorted(unknown))}")
        return self


@dataclass(frozen=True)
class Image:
    """The image of a job.

    Attributes:
        uri: as a job names it.
        account: of its registry.
        region: of its registry.
        repository: its name there.
        tag: None where the URI names a digest.
        digest: None where the URI names a tag.
        row: what is known about it; None for an image that the tables do not hold.
        insisted: whether the configuration names the whole URI.
    """

    uri: str
    account: str
    region: str
    repository: str
    tag: str | None
    digest: str | None
    row: ImageRow | None
    insisted: bool

    @property
    def torch(self) -> str | None:
        """Version of torch in it, where known."""
        return self.row.torch if self.row else None

    @property
    def python(self) -> str | None:
        """Version of Python in it, where known."""
        return self.row.python if self.row else None

    @property
    def cuda(self) -> str | None:
        """Version of CUDA in it; None without one, and where it is not known."""
        return self.row.cuda if self.row else None

    @property
    def device(self) -> Device | None:
        """What it computes on, where known."""
        return self.row.device if self.row else None

    @property
    def end_of_patch(self) -> date | None:
        """From when on nobody mends it, where known."""
        return self.row.end_of_patch if self.row else None


def tables(section: SageMakerSection) -> Tables:
    """The tables of `training.sagemaker.tables`, or those that ship with this project.

    Raises:
        ConfigError: unreadable, or not of the form.
    """
    return _read(section.tables) if section.tables is not None else _shipped()


@lru_cache(maxsize=1)
def _shipped() -> Tables:
    with resources.as_file(resources.files(__package__) / _SHIPPED) as path:
        return _read(path)


def _read(path: Path) -> Tables:
    tree = read_sections(path, remedy="Check training.sagemaker.tables.")
    try:
        return Tables.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(explain(error, origin=str(path), of=Tables)) from error


def own_torch() -> str:
    """The version of torch on this machine, without what a build adds (+cpu); nothing is imported."""
    return metadata.version("torch").partition("+")[0]


def minor(version: str) -> str:
    """As in 2.13 of 2.13.0."""
    return ".".join(version.split(".")[:2])


def at_least(version: str, lowest: str) -> bool:
    """Whether a dotted version, or compute capability, is not below another."""
    return [int(part) for part in version.split(".")] >= [int(part) for part in lowest.split(".")]


def image_of(section: SageMakerSection, tables: Tables, region: str) -> Image:
    """The image that a job runs in.

    A whole URI is taken as it is. A name is a row of the tables. Without either: the newest row with this machine's version
    of torch, for the device of the instance.

    Args:
        section: names it, or leaves the choice to us.
        tables: what there is.
        region: of the job.

    Raises:
        ConfigError: no such row, no row for this torch, or AWS's registry of the region is not known.
    """
    if section.image is not None and (match := _URI.match(section.image)):
        found = match.groupdict()
        named = [row for row in tables.images if row.repository == found["repository"]]
        row = next((row for row in named if found["tag"] in (row.tag, *row.also)), None)
        return Image(
            uri=section.image,
            account=found["account"],
            region=found["region"],
            repository=found["repository"],
            tag=found["tag"],
            digest=found["digest"],
            row=row if found["account"] in tables.accounts.values() else None,
            insisted=True,
        )
    row = _named(section.image, tables) if section.image is not None else _of_our_torch(section, tables)
    account = tables.accounts.get(region)
    if account is None:
        raise ConfigError(
            f"region {region}: the registry of AWS's images there is not in the table of {tables.reviewed}. Give the "
            f"whole URI as training.sagemaker.image, or add the account to a file for training.sagemaker.tables."
        )
    suffix = ".cn" if region.startswith("cn-") else ""
    return Image(
        uri=f"{account}.dkr.ecr.{region}.amazonaws.com{suffix}/{row.repository}:{row.tag}",
        account=account,
        region=region,
        repository=row.repository,
        tag=row.tag,
        digest=None,
        row=row,
        insisted=False,
    )


def _named(key: str, tables: Tables) -> ImageRow:
    keys = {row.key: row for row in tables.images}
    if key in keys:
        return keys[key]
    near = difflib.get_close_matches(key, keys, n=3, cutoff=0.4) or sorted(keys)[-2:]
    raise ConfigError(
        f"training.sagemaker.image={key}: neither a whole URI (ACCOUNT.dkr.ecr.REGION.amazonaws.com/REPOSITORY:TAG) nor a row "
        f"of the image table of {tables.reviewed}. Rows with a name like it: {', '.join(near)}."
    )


def _of_our_torch(section: SageMakerSection, tables: Tables) -> ImageRow:
    machine = instance(tables, section.instance_type)
    if machine is None:
        raise ConfigError(
            f"training.sagemaker.instance_type={section.instance_type} is not in the table of {tables.reviewed}, so it is "
            f"not known whether it needs an image for cpu or gpu. Name one as training.sagemaker.image, such as "
            f"{tables.images[-1].key}, or choose a machine of the table."
        )
    ours = minor(own_torch())
    rows = [row for row in tables.images if row.device == machine.device and minor(row.torch) == ours]
    if not rows:
        there = ", ".join(sorted({minor(row.torch) for row in tables.images if row.device == machine.device}))
        raise ConfigError(
            f"torch {own_torch()} on this machine: the image table of {tables.reviewed} has no image with torch {ours} for "
            f"{machine.device}; it has {there or 'none'}. Name one as training.sagemaker.image."
        )
    return max(rows, key=lambda row: row.ga)


def instance(tables: Tables, instance_type: str) -> Instance | None:
    """What is known about a kind of machine; None: it is not in the tables."""
    return next((row for row in tables.instances if row.type == instance_type), None)


def device_of_jobs(training: TrainingSection) -> Literal["cpu", "cuda"]:
    """What jobs compute on, as configured; a machine that the tables do not hold is taken to have a GPU."""
    machine = instance(tables(training.sagemaker), training.sagemaker.instance_type)
    return "cpu" if training.device == "cpu" or (machine is not None and machine.device == "cpu") else "cuda"


def price_of(tables: Tables, instance_type: str, region: str) -> Price | None:
    """What the tables say that a machine costs in a region, also as spot; None: not known there, and not guessed."""
    rows = [row for row in tables.prices if (row.type, row.region) == (instance_type, region)]
    return Price(rows[0].usd_per_hour, rows[0].as_of, PRICE_TABLE) if rows else None
