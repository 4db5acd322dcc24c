"""The sections of the targets: told apart by their kind, strict about what a host could misunderstand."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from models_lib.config.targets import (
    FolderTargetSection,
    LocalTargetSection,
    SshTargetSection,
    TargetSection,
    WatchSection,
)

TARGETS: TypeAdapter[Any] = TypeAdapter(TargetSection)
SSH = {
    "kind": "ssh",
    "host": "10.0.0.5",
    "user": "deploy",
    "key_file": "~/keys/id",
    "known_hosts": "known_hosts",
    "folder": "/srv/crpbot-runtime",
}


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({"kind": "folder", "folder": "x"}, FolderTargetSection),
        ({"kind": "local"}, LocalTargetSection),
        (SSH, SshTargetSection),
    ],
)
def test_target_is_what_its_kind_says_also_from_json(given: dict[str, Any], kind: type) -> None:
    target = TARGETS.validate_python(given)
    assert type(target) is kind
    assert TARGETS.validate_json(target.model_dump_json()) == target


def test_files_of_this_machine_are_absolute_wherever_a_process_works() -> None:
    target = TARGETS.validate_python(SSH)
    assert target.key_file == Path.home() / "keys/id"
    assert target.known_hosts == Path.cwd() / "known_hosts"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("kind", "scp"),
        ("host", "-oProxyCommand=x"),
        ("host", "a b"),
        ("user", "-l"),
        ("port", 0),
        ("port", True),
        ("folder", "runtime"),
        ("folder", "/srv/../etc"),
        ("restart", "systemctl restart crpbot"),
        ("restart", []),
        ("runtime_command", [""]),
        ("password", "x"),
        ("silence_limit_seconds", 0),
    ],
)
def test_bad_target_is_refused(field: str, value: object) -> None:
    with pytest.raises(ValidationError):
        TARGETS.validate_python(SSH | {field: value})


def test_watch_refuses_shares_out_of_order() -> None:
    with pytest.raises(
        ValidationError, match=r"class_share_low must not be above class_share_high, was 0\.6 above 0\.5"
    ):
        WatchSection(class_share_low=0.6, class_share_high=0.5)
