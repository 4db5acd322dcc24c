"""The shipped tables without their calendar: images that are mended for long, and prices of the stand-in's region.

For tests that look at the real clock; a test of the calendar gives `now` itself.
"""

import json
from pathlib import Path
from typing import Any

import yaml

from tasks.adapters.sagemaker import tables
from tests.aws.cloud_settings import REGION


def write_lasting_tables(folder: Path, *, usd_per_hour: float = 1.76) -> Path:
    """A file for training.sagemaker.tables."""
    tree: dict[str, Any] = yaml.safe_load(Path(tables.__file__).with_name("tables.yaml").read_text())
    for row in tree["images"]:
        row["end_of_patch"] = "2099-01-01"
    tree["prices"] = [
        {"type": row["type"], "region": REGION, "usd_per_hour": usd_per_hour, "as_of": "2026-11-01"}
        for row in tree["instances"]
    ]
    path = folder / "tables.yaml"
    path.write_text(json.dumps(tree, default=str))
    return path
