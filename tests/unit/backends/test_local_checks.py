"""What a training on this machine needs is asked before it begins."""

from pathlib import Path

from models_lib.backends.checks import local_findings
from models_lib.config import load_config


def answers(home: Path, *settings: str, num_symbols: int = 3) -> dict[str, str]:
    found = local_findings(load_config(None, settings), home=home, num_symbols=num_symbols)
    return {each.check: f"{each.answer}: {each.fact} {each.remedy}" for each in found}


def test_new_home_is_made_and_left_empty(tmp_path: Path) -> None:
    told = answers(tmp_path / "new" / "home")
    assert [each.partition(":")[0] for each in told.values()] == ["pass", "pass", "pass"]
    assert list((tmp_path / "new" / "home").iterdir()) == []


def test_disk_that_is_too_small_is_told_with_both_numbers(tmp_path: Path) -> None:
    told = answers(tmp_path, "data.days=3650", num_symbols=1_000_000)["disk"]
    assert told.startswith("fail: ")
    assert "about 10,512,000.0 GB needed for 1,000,000 symbols" in told
    assert "crpbot clean" in told


def test_home_below_a_file_cannot_be_made_and_the_others_are_asked_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    told = answers(tmp_path / "file" / "home", "training.device=cuda")
    assert told["home"].startswith(f"fail: {tmp_path / 'file' / 'home'}: cannot be written")
    assert "CRPBOT_HOME" in told["home"]
    assert told["disk"].startswith("pass")
    assert set(told) == {"home", "disk", "torch"}
