"""The reviewed tables: every row is sane, and an image, a machine or a price is found as it was read, or not at all."""

import json
import re
from datetime import date
from pathlib import Path

import boto3
import pytest
import yaml

from models_lib.config import SageMakerSection
from models_lib.errors import ConfigError
from tasks.adapters.sagemaker import tables as module
from tasks.adapters.sagemaker.tables import at_least, image_of, instance, own_torch, price_of, tables

SHIPPED = tables(SageMakerSection())
FILE = Path(module.__file__).with_name("tables.yaml")


@pytest.mark.parametrize("row", SHIPPED.images, ids=lambda row: row.key)
def test_image_row_says_one_thing(row: module.ImageRow) -> None:
    """Version, device and CUDA of a row are those that its own tags name."""
    version, device = row.torch, row.device
    assert row.key == f"pytorch-{module.minor(version)}-{device}"
    assert (row.end_of_patch - row.ga).days in (365, 366)
    assert row.repository == ("pytorch-training" if "ubuntu" in row.tag else "pytorch")
    for tag in (row.tag, *row.also):
        assert tag.startswith((f"{version}-", f"{module.minor(version)}-"))
        assert ("cpu" in tag) == (device == "cpu")
        cuda = re.search(r"-cu([0-9]+)([0-9])-", tag)
        assert cuda is None or row.cuda == f"{cuda[1]}.{cuda[2]}"


def test_every_torch_of_the_table_is_there_for_both_devices() -> None:
    minors = {module.minor(row.torch) for row in SHIPPED.images}
    assert {(module.minor(row.torch), row.device) for row in SHIPPED.images} == {
        (each, device) for each in minors for device in ("cpu", "gpu")
    }
    assert module.minor(own_torch()) in minors


def test_machines_are_those_that_sagemaker_knows() -> None:
    client = boto3.session.Session().client("sagemaker", region_name="eu-central-1")
    offered = client.meta.service_model.shape_for("TrainingInstanceType").enum
    assert {row.type for row in SHIPPED.instances} <= set(offered)
    assert {row.type for row in SHIPPED.prices} <= {row.type for row in SHIPPED.instances}


def test_one_family_has_one_gpu() -> None:
    families: dict[str, set[str | None]] = {}
    for row in SHIPPED.instances:
        families.setdefault(row.type.split(".")[1], set()).add(f"{row.device} {row.gpu} {row.gpu_architecture}")
    assert all(len(gpus) == 1 for gpus in families.values())


def test_prices_are_the_observed_ones_and_of_one_region() -> None:
    seen = {(row.type, row.region): row.usd_per_hour for row in SHIPPED.prices}
    assert seen == {
        ("ml.g5.xlarge", "us-east-1"): 1.41,
        ("ml.g5.4xlarge", "us-east-1"): 2.03,
        ("ml.p3.2xlarge", "us-east-1"): 3.825,
    }
    assert all(row.as_of <= SHIPPED.reviewed for row in SHIPPED.prices)


def test_default_image_has_our_torch_for_the_device_of_the_machine() -> None:
    gpu = image_of(SageMakerSection(), SHIPPED, "eu-central-1")
    cpu = image_of(SageMakerSection(instance_type="ml.m5.xlarge"), SHIPPED, "eu-central-2")
    assert gpu.uri == "763104351884.dkr.ecr.eu-central-1.amazonaws.com/pytorch:2.13.0-cu133-amzn2023-sagemaker"
    assert cpu.uri == "380420809688.dkr.ecr.eu-central-2.amazonaws.com/pytorch:2.13.0-cpu-amzn2023-sagemaker"
    assert (gpu.torch, gpu.device, gpu.cuda, gpu.end_of_patch) == ("2.13.0", "gpu", "13.3", date(2027, 7, 20))


def test_whole_uri_is_taken_as_it_is_and_known_when_a_row_has_its_tag() -> None:
    account = "763104351884.dkr.ecr.us-east-1.amazonaws.com"
    known = image_of(SageMakerSection(image=f"{account}/pytorch:2.12-cpu-amzn2023-sagemaker"), SHIPPED, "eu-central-1")
    assert (known.region, known.tag, known.torch, known.insisted) == (
        "us-east-1",
        "2.12-cpu-amzn2023-sagemaker",
        "2.12.1",
        True,
    )
    dead = image_of(SageMakerSection(image=f"{account}/pytorch-training:2.0-gpu-cu118"), SHIPPED, "us-east-1")
    assert (dead.row, dead.torch, dead.cuda) == (None, None, None)
    own = "111122223333.dkr.ecr.us-east-1.amazonaws.com/team/trainer@sha256:" + "0" * 64
    image = image_of(SageMakerSection(image=own), SHIPPED, "us-east-1")
    assert (image.account, image.repository, image.tag, image.digest) == (
        "111122223333",
        "team/trainer",
        None,
        "sha256:" + "0" * 64,
    )


@pytest.mark.parametrize(
    ("section", "region", "words"),
    [
        (SageMakerSection(image="pytorch-2.13-gup"), "eu-central-1", "pytorch-2.13-gpu"),
        (SageMakerSection(image="pytorch:2.13-gpu"), "eu-central-1", "neither a whole URI"),
        (SageMakerSection(), "eu-central-9", "registry of AWS's images there is not in the table"),
        (SageMakerSection(instance_type="ml.z9.xlarge"), "eu-central-1", "Name one as training.sagemaker.image"),
    ],
)
def test_image_that_cannot_be_chosen_is_refused_with_what_there_is(
    section: SageMakerSection, region: str, words: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)):
        image_of(section, SHIPPED, region)


def test_price_is_not_guessed_for_another_region() -> None:
    assert price_of(SHIPPED, "ml.g5.xlarge", "eu-central-1") is None
    price = price_of(SHIPPED, "ml.g5.xlarge", "us-east-1")
    assert price is not None
    assert (price.usd_per_hour, price.as_of, price.source) == (1.41, date(2025, 11, 16), "price table")


def test_v100_is_too_old_for_cuda_13_and_not_for_12() -> None:
    v100 = instance(SHIPPED, "ml.p3.2xlarge")
    assert v100 is not None
    assert v100.gpu_architecture is not None
    assert at_least(v100.gpu_architecture, SHIPPED.cuda["12.9"])
    assert not at_least(v100.gpu_architecture, SHIPPED.cuda["13.0"])
    assert at_least("10.0", "9.0")


def test_own_table_takes_the_place_of_the_shipped_one(tmp_path: Path) -> None:
    tree = yaml.safe_load(FILE.read_text())
    tree["prices"] = [{"type": "ml.g5.xlarge", "region": "eu-central-1", "usd_per_hour": 1.7, "as_of": "2026-11-01"}]
    path = tmp_path / "tables.yaml"
    path.write_text(yaml.safe_dump(json.loads(json.dumps(tree, default=str))))
    price = price_of(tables(SageMakerSection(tables=path)), "ml.g5.xlarge", "eu-central-1")
    assert price is not None
    assert price.usd_per_hour == 1.7


@pytest.mark.parametrize(
    ("line", "instead", "words"),
    [
        ("reviewed: 2026-11-20", "revised: 2026-11-20", "unknown key"),
        ("ga: 2026-07-20, end_of_patch: 2027-07-20", "ga: 2026-07-20, end_of_patch: 2026-07-20", "must be after ga"),
        ('cuda: "13.3", ', "", "cuda must be given"),
        ("gpu: A10G, ", "", "gpu and gpu_architecture"),
        ('"12.9": "7.0"', '"12.8": "7.0"', "lowest compute capability of 12.9"),
        ("key: pytorch-2.14-gpu", "key: pytorch-2.13-gpu", "second image pytorch-2.13-gpu"),
        ("type: ml.g5.4xlarge, region", "type: ml.g5.xlarge, region", "second price of ml.g5.xlarge in us-east-1"),
        ('us-east-1: "763104351884"', 'us-east-1: "76310435188"', "accounts"),
    ],
)
def test_table_with_a_fault_is_refused(tmp_path: Path, line: str, instead: str, words: str) -> None:
    text = FILE.read_text()
    assert line in text
    path = tmp_path / "tables.yaml"
    path.write_text(text.replace(line, instead))
    with pytest.raises(ConfigError, match=re.escape(words)) as refused:
        tables(SageMakerSection(tables=path))
    assert str(refused.value).startswith(str(path))


def test_table_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"training\.sagemaker\.tables"):
        tables(SageMakerSection(tables=tmp_path / "none.yaml"))
