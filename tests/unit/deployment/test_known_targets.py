"""Every place where something of this home may run: those of the configuration, and those that it deployed to."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path

import pytest

from models_lib.config import load_config
from models_lib.deployment.host import HostTarget
from models_lib.deployment.known import if_gone, known_targets, remember_target
from models_lib.deployment.target import DeploymentTarget
from tests.hosts import in_folder, no_ssh


def tokyo(host: str = "10.0.0.5", **changed: object) -> list[str]:
    """Settings with that host behind SSH as the target."""
    section = {"kind": "ssh", "host": host, "user": "u", "key_file": "k", "known_hosts": "h", "folder": "/srv/crpbot"}
    return [f"deployment.targets.tokyo={json.dumps(section | changed)}", "deployment.target=tokyo"]


def deployed_to(home: Path, settings: Sequence[str]) -> None:
    remember_target(home, load_config(None, settings).deployment)


def targets(home: Path, settings: Sequence[str] = ()) -> list[DeploymentTarget]:
    return known_targets(home, load_config(None, settings).deployment, ssh=no_ssh, who="me@here")


def known(home: Path, settings: Sequence[str] = ()) -> list[str]:
    return sorted(target.name for target in targets(home, settings))


def test_configured_targets_are_known_before_anything_is_deployed(tmp_path: Path) -> None:
    assert known(tmp_path) == ["local"]
    assert known(tmp_path, ["deployment.target=null"]) == ["local"], "`crpbot deploy` may name any"
    assert known(tmp_path, [*tokyo(), *in_folder(tmp_path / "f")]) == ["folder", "local", "tokyo"]


def test_place_of_another_configuration_is_known_once_it_was_deployed_to(tmp_path: Path) -> None:
    deployed_to(tmp_path, [*tokyo(), *in_folder(tmp_path / "f")])
    assert known(tmp_path) == ["folder", "local"], "of that configuration the one that was deployed to"
    for _ in range(3):
        deployed_to(tmp_path, tokyo())
    assert known(tmp_path) == ["folder", "local", "tokyo"]


def test_configured_place_goes_by_the_configuration(tmp_path: Path) -> None:
    """It is the same place with another key, another time limit or under another name."""
    deployed_to(tmp_path, tokyo())
    (found,) = (target for target in targets(tmp_path, tokyo(user="other")) if target.name == "tokyo")
    assert isinstance(found, HostTarget)
    assert found.section.model_dump()["user"] == "other"
    renamed = [setting.replace("targets.tokyo", "targets.osaka") for setting in tokyo()[:1]]
    assert known(tmp_path, renamed) == ["local", "osaka"]


@pytest.mark.parametrize("moved_to", ["10.0.0.4", "10.0.0.6"])
def test_host_that_moved_keeps_its_name_and_the_old_one_is_called_by_its_place(tmp_path: Path, moved_to: str) -> None:
    deployed_to(tmp_path, tokyo())
    deployed_to(tmp_path, tokyo(moved_to))
    found = {target.name: target for target in targets(tmp_path, tokyo(moved_to))}
    assert sorted(found) == ["local", "tokyo", "tokyo (10.0.0.5:22/srv/crpbot)"]
    tokyo_now = found["tokyo"]
    assert isinstance(tokyo_now, HostTarget)
    assert tokyo_now.section.model_dump()["host"] == moved_to


def test_place_that_is_gone_is_forgotten_as_the_message_says(tmp_path: Path) -> None:
    deployed_to(tmp_path, tokyo())
    assert if_gone(tmp_path).endswith(f"its file in {tmp_path / 'targets'} is removed.")
    (file,) = (tmp_path / "targets").iterdir()
    assert "10.0.0.5" in file.read_text(), "a person finds it by its content"
    file.unlink()
    assert known(tmp_path) == ["local"]


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"name": "x", "section": {"kind": "moon"}}'])
def test_file_that_cannot_be_read_is_told_and_hides_no_other(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    deployed_to(tmp_path, in_folder(tmp_path / "f"))
    (tmp_path / "targets" / "0.json").write_text(content)
    with caplog.at_level(logging.WARNING):
        assert known(tmp_path) == ["folder", "local"]
    assert f"{tmp_path / 'targets' / '0.json'} names a target and cannot be read" in caplog.text


def test_embedded_target_lies_in_the_home(tmp_path: Path) -> None:
    deployed_to(tmp_path, ())
    (target,) = targets(tmp_path)
    assert isinstance(target, HostTarget)
    assert target.section.folder == tmp_path / "host"
