"""From files and `--set` to a checked configuration: what wins, what is refused, and in which words."""

import json
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from models_lib.config import RunConfig, identity_of_evaluation, load_config, select_symbols
from models_lib.config.targets import LocalTargetSection, TargetSection
from models_lib.errors import ConfigError


def refusal(*settings: str, path: Path | None = None) -> str:
    with pytest.raises(ConfigError) as refused:
        load_config(path, settings)
    text = str(refused.value)
    assert "\n" not in text
    return text


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


# what wins


def test_nothing_given_is_the_defaults() -> None:
    assert load_config() == RunConfig()


def test_settings_win_over_the_file_and_the_file_over_the_defaults(tmp_path: Path) -> None:
    path = written(tmp_path, "data: {days: 30, seed: 3}\ntraining: {batch_size: 64}\n")
    config = load_config(path, ["data.days=20", "data.days=10"])
    assert (config.data.days, config.data.seed, config.training.batch_size) == (10, 3, 64)
    assert config.label == RunConfig().label


@pytest.mark.parametrize("text", ["", "# nothing\n", "training:\n", "training:\n  # seed: 1\n"])
def test_empty_file_or_section_leaves_the_defaults(tmp_path: Path, text: str) -> None:
    assert load_config(written(tmp_path, text)) == RunConfig()


def test_setting_reaches_into_an_empty_section(tmp_path: Path) -> None:
    assert load_config(written(tmp_path, "training:\n"), ["training.seed=5"]).training.seed == 5


def test_severity_alone_keeps_the_limit_of_its_gate() -> None:
    gate = load_config(None, ["gates.accuracy.severity=advisory"]).gates.accuracy
    assert (gate.severity, gate.limit) == ("advisory", RunConfig().gates.accuracy.limit)


@pytest.mark.parametrize(
    "target",
    [
        {"kind": "folder", "folder": "/srv/releases"},
        {"kind": "ssh", "host": "h", "user": "u", "key_file": "/k", "known_hosts": "/k", "folder": "/srv/crpbot"},
    ],
)
def test_target_that_is_named_as_the_embedded_one_may_be_of_another_kind(target: dict[str, str]) -> None:
    found = load_config(None, [f"deployment.targets.local={json.dumps(target)}"]).deployment.targets["local"]
    assert found == TypeAdapter(TargetSection).validate_python(target)


def test_folder_alone_keeps_the_kind_of_the_embedded_target() -> None:
    found = load_config(None, ["deployment.targets.local.folder=/srv/host"]).deployment.targets["local"]
    assert found == LocalTargetSection(kind="local", folder=Path("/srv/host"))


def test_limit_alone_keeps_the_severity_of_its_gate() -> None:
    gates = load_config(None, ["gates.beats_driftless_rule.limit=0.01", "gates.class_balance.low=0.1"]).gates
    assert gates.beats_driftless_rule.severity == "advisory"
    assert (gates.class_balance.low, gates.class_balance.high) == (0.1, RunConfig().gates.class_balance.high)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("training.learning_rate=1e-4", 1e-4),
        ("training.learning_rate=0.5", 0.5),
        ("training.gradient_clip_norm=null", None),
        ("training.loss=focal", "focal"),
        ("temperature.sweep=[1, 2.5]", (1.0, 2.5)),
        ("symbols=[BTC-USD, DOGE-USD]", ("BTC-USD", "DOGE-USD")),
        ("data.market=null", "null"),
    ],
)
def test_setting_is_read_as_a_yaml_value(setting: str, value: object) -> None:
    found: object = load_config(None, [setting])
    for part in setting.partition("=")[0].split("."):
        found = getattr(found, part)
    assert found == value


def test_setting_may_hold_further_equal_signs(tmp_path: Path) -> None:
    config = load_config(None, ["data.source=parquet", f"data.path={tmp_path}/a=b"])
    assert config.data.path == tmp_path / "a=b"


def test_resolved_configuration_comes_back_from_its_own_json() -> None:
    config = load_config(None, ["data.days=3", "gates.accuracy.severity=advisory"])
    assert RunConfig.model_validate_json(config.model_dump_json()) == config


# what is refused


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("data.dayz=3", "data.dayz: unknown key. Did you mean data.days?"),
        ("learning_rate=1", "learning_rate: unknown key. Did you mean training.learning_rate?"),
        ("dat.days=1", "dat: unknown key. Did you mean data?"),
        ("gates.acuracy.limit=0.5", "gates.acuracy: unknown key. Did you mean gates.accuracy?"),
        ("gates.accuracy.limits=0.5", "gates.accuracy.limits: unknown key. Did you mean gates.accuracy.limit?"),
        ("training.batch=3", "training.batch: unknown key. Did you mean training.batch_size?"),
    ],
)
def test_unknown_key_is_refused_with_a_near_name(setting: str, told: str) -> None:
    assert told in refusal(setting)


def test_unknown_key_that_resembles_nothing_gets_no_advice() -> None:
    assert refusal("zzz=1") == "the configuration: zzz: unknown key."


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        (
            "data.days=many",
            "data.days: Input should be a valid integer, unable to parse string as an integer, was 'many'",
        ),
        ("data.days=0", "data.days: Input should be greater than or equal to 1, was 0."),
        ("data.source=ftp", "data.source: Input should be 'simulated', 'parquet', 's3' or 'exchange', was 'ftp'."),
        ("training.learning_rate=.nan", "training.learning_rate: Input should be a finite number, was nan."),
        ("training.learning_rate=-1", "training.learning_rate: Input should be greater than 0, was -1."),
        ("gates.accuracy.limit=.inf", "gates.accuracy.limit: Input should be a finite number"),
        ("gates.accuracy.severity=off", "gates.accuracy.severity: Input should be 'blocking' or 'advisory'"),
        ("gates.class_balance.low=0.7", "low must not exceed high, was 0.7 > 0.6"),
        ("splits.train_share=0.9", "must leave a test part of at least 0.02"),
        ("symbols=BTC-USD", "symbols: must be a list, such as [A, B], was 'BTC-USD'."),
        ("symbols=[BTC-USD, BTC-USD]", "symbols must be distinct, were ['BTC-USD', 'BTC-USD']"),
        ("symbols=[../../etc]", "symbols.0: String should match pattern"),
        ("data=3", "data: must be a section of keys, such as `days: 50` under `data:`, was 3."),
        ("data.days=true", "data.days: must be a number, was True."),
        ("data.days=off", "data.days: must be a number, was False."),
        ("gates.accuracy.limit=yes", "gates.accuracy.limit: must be a number, was True."),
        ("training.gradient_clip_norm=true", "training.gradient_clip_norm: must be a number, was True."),
        ("temperature.sweep=[1, on]", "temperature.sweep: must be a number, was [1, True]."),
        ("data={days: 1, seed: 2, days: 3}", "the key 'days' stands twice"),
        ("data.source=parquet", "data.path must be set when data.source is parquet"),
        ("data.path=/tmp", "data.path is only for data.source=parquet or exchange"),
        ("deployment.target=host", "deployment: deployment.target must be one of local, was host"),
    ],
)
def test_wrong_value_is_refused_with_its_key_and_limit(setting: str, told: str) -> None:
    assert told in refusal(setting)


def test_every_fault_is_told_at_once() -> None:
    told = refusal("data.days=0", "data.dayz=1", "training.loss=hinge")
    assert "data.days: " in told
    assert "data.dayz: " in told
    assert "training.loss: " in told


@pytest.mark.parametrize("setting", ["data.days", "=3", "data.=3", ".days=3", "data..days=3", ""])
def test_setting_without_a_key_and_a_value_is_refused(setting: str) -> None:
    assert refusal(setting) == f"--set {setting!r}: must be dotted.key=value, such as data.days=50."


def test_setting_that_is_no_yaml_is_refused() -> None:
    assert refusal("data.days=[1").startswith("--set 'data.days=[1': the value is not valid YAML (")


def test_setting_below_a_value_is_refused() -> None:
    assert refusal("data.days=3", "data.days.x=4") == "--set 'data.days.x=4': 'days' is a value, not a section."


# files


def test_fault_in_a_file_names_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "data: {days: 0}\n")
    assert refusal(path=path) == f"{path}: data.days: Input should be greater than or equal to 1, was 0."


@pytest.mark.parametrize("text", ["data: [1\nb: 2", "a: b: c", "\tx: 1", "data: !!python/object:os.system {}"])
def test_file_that_is_no_yaml_is_refused(tmp_path: Path, text: str) -> None:
    path = written(tmp_path, text)
    assert refusal(path=path).startswith(f"{path}: not valid YAML: ")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("data: {days: 3, seed: 1, days: 4}\n", "the key 'days' stands twice"),
        ("data:\n  days: 3\n  'days': 3\n", "line 3, column 3"),
        ("data: {days: 3}\nlabel: {}\ndata: {seed: 4}\n", "the key 'data' stands twice"),
        ("gates:\n  accuracy:\n    limit: 1\n    limit: 0\n", "the key 'limit' stands twice"),
    ],
)
def test_key_that_stands_twice_is_refused_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    path = written(tmp_path, text)
    assert refusal(path=path).startswith(f"{path}: not valid YAML: ")
    assert told in refusal(path=path)


def test_key_that_overrides_a_merged_one_stands_once(tmp_path: Path) -> None:
    data = load_config(written(tmp_path, "data:\n  <<: {days: 3, seed: 1}\n  days: 4\n")).data
    assert (data.days, data.seed) == (4, 1)


def test_file_without_sections_is_refused(tmp_path: Path) -> None:
    told = refusal(path=written(tmp_path, "- data\n- label\n"))
    assert "must hold sections such as `data:` at the top, was a list." in told


def test_file_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    assert "cannot be read" in refusal(path=tmp_path / "absent.yaml")
    assert "cannot be read" in refusal(path=tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    assert "cannot be read" in refusal(path=tmp_path / "binary.yaml")


# symbols


def test_symbols_asked_for_keep_their_order_and_count_once() -> None:
    assert select_symbols(RunConfig(), ["SOL-USD", "BTC-USD", "SOL-USD"]) == ("SOL-USD", "BTC-USD")


def test_no_choice_of_symbols_is_all_of_them() -> None:
    assert select_symbols(RunConfig(), None) == ("BTC-USD", "ETH-USD", "SOL-USD")


@pytest.mark.parametrize("symbol", ["DOGE-USD", "btc-usd", "", "../BTC-USD"])
def test_unknown_symbol_is_refused_with_the_known_ones(symbol: str) -> None:
    with pytest.raises(ConfigError, match="is not a configured symbol; configured are BTC-USD, ETH-USD, SOL-USD"):
        select_symbols(RunConfig(), ["BTC-USD", symbol])


def test_empty_choice_of_symbols_is_refused() -> None:
    with pytest.raises(ConfigError, match="no symbol was asked for"):
        select_symbols(RunConfig(), [])


def test_symbol_that_the_file_adds_is_known(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, "symbols: [BTC-USD, DOGE-USD]\n"))
    assert select_symbols(config, ["DOGE-USD"]) == ("DOGE-USD",)


@pytest.mark.parametrize(
    ("setting", "fault"),
    [
        ("evaluation.controls=[shuffled, shuffled]", "must name each control once"),
        ("evaluation.controls=[reversed]", "'shuffled' or 'signflip'"),
        ("evaluation.controls=shuffled", "must be a list"),
    ],
)
def test_controls_are_a_list_of_known_ones(setting: str, fault: str) -> None:
    with pytest.raises(ConfigError, match=fault) as refused:
        load_config(None, (setting,))
    assert "evaluation.controls" in str(refused.value)


def test_controls_change_no_figure_of_the_model() -> None:
    plain, controlled = (load_config(None, settings) for settings in ((), ("evaluation.controls=[shuffled]",)))
    assert identity_of_evaluation(plain.evaluation) == identity_of_evaluation(controlled.evaluation)
    moved = load_config(None, ("evaluation.costs_bp=3",))
    assert identity_of_evaluation(plain.evaluation) != identity_of_evaluation(moved.evaluation)
