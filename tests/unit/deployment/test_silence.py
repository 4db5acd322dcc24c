"""A hold reaches every place, and says of which it cannot be sure."""

from dataclasses import replace
from pathlib import Path

from models_lib.deployment import FolderTarget
from models_lib.deployment.host import HostTarget
from models_lib.deployment.silence import hold_at, release_at
from models_lib.holds import held
from tests.hosts import host_target
from tests.unit.deployment.links import InProcessLink, NoLink

BTC = "BTC-USD"


def away(folder: Path) -> HostTarget:
    return replace(host_target(folder), name="tokyo", open_link=NoLink)


def test_every_target_is_told_also_behind_one_that_is_away(tmp_path: Path) -> None:
    targets = [
        away(tmp_path / "away"),
        replace(host_target(tmp_path / "host"), open_link=InProcessLink),
        FolderTarget(tmp_path / "folder", keep=2),
    ]
    done, failed = hold_at(targets, BTC, reason="odd prices")
    assert [sentence.partition(" since ")[0] for sentence in done] == [
        "target host: BTC-USD: on hold",
        "target folder: BTC-USD: on hold",
    ]
    assert failed == ["target tokyo: deploy@10.0.0.5:22 does not answer (no route to host). Try again."]
    for name in ("host", "folder"):
        hold = held(tmp_path / name, BTC)
        assert hold is not None
        assert hold.reason == "odd prices"

    done, failed = release_at(targets, BTC)
    assert [sentence.partition("; ")[0] for sentence in done] == [
        "target host: BTC-USD: released",
        "target folder: BTC-USD: released",
    ]
    assert len(failed) == 1
    assert (held(tmp_path / "host", BTC), held(tmp_path / "folder", BTC)) == (None, None)


def test_folder_that_takes_no_hold_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "holds").write_text("a file where a folder must be")
    done, failed = hold_at([FolderTarget(tmp_path / "folder", keep=2)], BTC, reason="odd prices")
    assert done == []
    assert [sentence.partition(": ")[0] for sentence in failed] == ["target folder"]


def test_place_that_runs_nothing_has_nothing_to_say(tmp_path: Path) -> None:
    target = host_target(tmp_path / "host")
    nowhere = replace(target, section=target.section.model_copy(update={"folder": tmp_path / "nowhere"}))
    assert hold_at([nowhere], BTC, reason="x") == ([], [])
    assert release_at([], BTC) == ([], [])
