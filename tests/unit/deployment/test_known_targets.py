"""Every place that may run a release: those of the configuration, and those to which runs deployed."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from models_lib.config import load_config
from models_lib.deployment.host import HostTarget
from models_lib.deployment.known import known_targets
from tests.hosts import in_folder, no_ssh

SSH = "{kind: ssh, host: h, user: u, key_file: k, known_hosts: h, folder: /srv/crpbot}"


def ran(home: Path, name: str, settings: Sequence[str]) -> None:
    """A run folder with the plan of a run with those settings."""
    config = load_config(None, settings).model_dump(mode="json")
    (home / "runs" / name).mkdir(parents=True)
    (home / "runs" / name / "plan.json").write_text(json.dumps({"config": config}))


def known(home: Path, settings: Sequence[str] = ()) -> list[str]:
    targets = known_targets(home, load_config(None, settings).deployment, ssh=no_ssh, who="me@here")
    return sorted(target.name for target in targets)


def test_configured_targets_are_known_without_a_run(tmp_path: Path) -> None:
    assert known(tmp_path) == ["local"]
    assert known(tmp_path, ["deployment.target=null"]) == ["local"], "`crpbot deploy` may name any"
    assert known(tmp_path, [*in_folder(tmp_path / "f"), f"deployment.targets.tokyo={SSH}"]) == [
        "folder",
        "local",
        "tokyo",
    ]


def test_place_of_an_earlier_run_is_known(tmp_path: Path) -> None:
    ran(tmp_path, "night-1", in_folder(tmp_path / "f"))
    assert known(tmp_path) == ["folder", "local"]


def test_each_place_is_known_once(tmp_path: Path) -> None:
    for night in range(3):
        ran(tmp_path, f"night-{night}", in_folder(tmp_path / "f"))
        ran(tmp_path, f"other-{night}", ())
    assert known(tmp_path, in_folder(tmp_path / "f")) == ["folder", "local"]


def test_two_places_of_one_name_are_two(tmp_path: Path) -> None:
    ran(tmp_path, "night-1", in_folder(tmp_path / "f"))
    assert known(tmp_path, in_folder(tmp_path / "moved")) == ["folder", "folder", "local"]


def test_targets_that_a_run_only_knew_are_none(tmp_path: Path) -> None:
    ran(tmp_path, "night-1", [f"deployment.targets.tokyo={SSH}"])
    ran(tmp_path, "night-2", [f"deployment.targets.tokyo={SSH}", "deployment.target=null"])
    assert known(tmp_path) == ["local"]


@pytest.mark.parametrize(
    "plan", ["", "{", "[]", "{}", '{"config": null}', '{"config": {"deployment": {"mode": "old"}}}']
)
def test_plan_that_cannot_be_read_hides_no_other(tmp_path: Path, plan: str) -> None:
    ran(tmp_path, "night-1", in_folder(tmp_path / "f"))
    (tmp_path / "runs" / "old").mkdir()
    (tmp_path / "runs" / "old" / "plan.json").write_text(plan)
    assert known(tmp_path) == ["folder", "local"]


def test_embedded_target_lies_in_the_home(tmp_path: Path) -> None:
    (target,) = known_targets(tmp_path, load_config(None, ()).deployment, ssh=no_ssh, who="me@here")
    assert isinstance(target, HostTarget)
    assert target.section.folder == tmp_path / "host"
