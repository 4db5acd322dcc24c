"""Which sets there are, how they are put together, and how a user names one."""

import json
from pathlib import Path

import pytest

from models_lib.errors import ConfigError
from models_lib.features import (
    CURRENT,
    FEATURE_SETS,
    RAW72,
    FeatureSet,
    feature_set,
    joined,
    read_feature_list,
    selected,
)

FEW = ("rsi_14", "close", "sma_200")


def listed(folder: Path, text: str) -> str:
    path = folder / "features.txt"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_raw72_begins_with_the_candle_and_its_fourth_is_the_close() -> None:
    assert RAW72.names[:6] == ("open", "high", "low", "close", "volume", "sma_7")


def test_every_set_has_a_hash_of_its_own() -> None:
    sets = [*FEATURE_SETS.values(), joined(RAW72, CURRENT), joined(CURRENT, RAW72), selected(FEW)]
    assert len({known.code_hash() for known in sets}) == len(sets)
    assert selected(FEW).code_hash() == selected(FEW).code_hash() != selected(FEW[::-1]).code_hash()


@pytest.mark.parametrize(
    "known",
    [
        CURRENT,
        RAW72,
        joined(RAW72, CURRENT),
        joined(RAW72, RAW72),
        selected(FEW),
        joined(selected(FEW), CURRENT),
        joined(RAW72, selected(FEW[::-1])),
    ],
    ids=lambda known: known.name,
)
def test_name_and_names_give_the_set_back(known: FeatureSet) -> None:
    assert feature_set(known.name, known.names) == known


@pytest.mark.parametrize(
    ("name", "names", "told"),
    [
        ("raw73", RAW72.names, "features.set is 'raw73', this code has raw72, current and selected"),
        ("raw72+magic", RAW72.names, r"features.set is 'raw72\+magic'"),
        ("", RAW72.names, "features.set is ''"),
        ("raw72", CURRENT.names, "72 features where this code has 72; different: "),
        ("raw72", RAW72.names[:-1], "71 features where this code has 72; different: day_of_week"),
        ("raw72", (*RAW72.names, "open"), "73 features where this code has 72"),
        ("raw72", ("high", "open", *RAW72.names[2:]), "another order: number 0 is high, this code has open"),
        ("raw72+current", (*CURRENT.names, *RAW72.names), "another order: number 0 is g_60, this code has open"),
        ("raw72+current", RAW72.names, "72 features where this code has 144"),
        ("selected", ("close", "magic", "more"), "2 unknown features: magic, more"),
        ("selected", tuple(f"x{place}" for place in range(10)), "10 unknown features: .* x7 and 2 more"),
    ],
)
def test_set_that_this_code_does_not_have_is_refused(name: str, names: tuple[str, ...], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        feature_set(name, names)


@pytest.mark.parametrize("name", ["raw72", "current"])
def test_list_is_read_by_the_name_of_a_set(name: str) -> None:
    assert read_feature_list(name) is FEATURE_SETS[name]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(FEW),
        json.dumps(FEW, indent=1) + "\n",
        "\n".join(FEW),
        "\r\n".join(FEW) + "\r\n\r\n",
        "\n  rsi_14\n\nclose \n sma_200",
        "\ufeff" + "\n".join(FEW),
        "\ufeff" + json.dumps(FEW),
    ],
    ids=["json", "json with line ends", "lines", "lines of windows", "spaces", "lines with a mark", "json with a mark"],
)
def test_list_is_read_from_a_file_in_its_order(tmp_path: Path, text: str) -> None:
    assert read_feature_list(listed(tmp_path, text)) == selected(FEW)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no feature is named"),
        (" \n\n", "no feature is named"),
        ("[]", "no feature is named"),
        ("close\nmagic\nopen\nmore", "2 unknown features: magic, more. Use names of raw72 and current"),
        ('["close", "magic"]', "1 unknown features: magic"),
        ("close\nopen\nclose\nopen", "named twice: close, open"),
        ('["close", 4]', "the list must hold names alone"),
        ('["close", ["open"]]', "the list must hold names alone"),
        ('["close", "open"', "no JSON list"),
        ('{"features": ["close"]}', "1 unknown features"),
    ],
)
def test_file_that_lists_no_features_is_refused(tmp_path: Path, text: str, told: str) -> None:
    path = listed(tmp_path, text)
    with pytest.raises(ConfigError, match=told) as refusal:
        read_feature_list(path)
    assert str(refusal.value).startswith(f"--features {path}: ")


def test_what_is_neither_a_set_nor_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"raw73: neither raw72 nor current, and no readable file \(No such file"):
        read_feature_list("raw73")
    with pytest.raises(ConfigError, match="no readable file"):
        read_feature_list(str(tmp_path))
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00close")
    with pytest.raises(ConfigError, match=r"\(not UTF-8 text\)"):
        read_feature_list(str(tmp_path / "binary"))
