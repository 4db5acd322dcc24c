"""The README and the program say the same: commands, options, gates, files, make targets, deployments."""

import argparse
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from flows.command_line import build_parser
from models_lib.config import RunConfig, load_config

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
EVERYWHERE = {"-h", "--help", "--debug"}


def leaves(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The parsers of the commands that do something."""
    branches = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not branches:
        yield parser
    for branch in branches:
        for child in branch.choices.values():
            yield from leaves(child)


COMMANDS = {parser.prog: parser for parser in leaves(build_parser())}
DOCUMENTED = re.findall(r"^\| `(crpbot [^`]+)` \|", README, flags=re.MULTILINE)


def name_of(line: str) -> str:
    return next(name for name in sorted(COMMANDS, key=len, reverse=True) if line.startswith(name))


def test_every_command_is_documented_once() -> None:
    assert sorted(name_of(line) for line in DOCUMENTED) == sorted(COMMANDS)


@pytest.mark.parametrize("line", DOCUMENTED, ids=name_of)
def test_documented_command_has_the_options_of_its_help(line: str) -> None:
    line = line.replace("\\|", "|")
    actions = COMMANDS[name_of(line)]._actions
    options = {option for action in actions for option in action.option_strings} - EVERYWHERE
    assert set(re.findall(r"--[a-z0-9-]+", line)) == options
    positions = [(str(action.metavar), action.nargs in ("?", "*")) for action in actions if not action.option_strings]
    rest = line.removeprefix(name_of(line))
    bare = re.sub(r"\[--[^]]*\](\.\.\.)?|--[a-z]+ \S+", "", rest).split()
    assert [(word.strip("[]."), word.startswith("[")) for word in bare] == positions


def shell_lines() -> list[str]:
    blocks = re.findall(r"^ {4}(?:export .*|\.venv/bin/.*|crpbot .*|make .*)$", README, flags=re.MULTILINE)
    return [re.sub(r"\s+#.*", "", line).strip() for line in blocks]


@pytest.mark.parametrize("line", [line for line in shell_lines() if "crpbot " in line.split("prefect")[0]])
def test_shown_crpbot_line_is_understood(line: str) -> None:
    words = line.split()
    assert words[0] in {"crpbot", ".venv/bin/crpbot"}
    build_parser().parse_args(words[1:])


def test_named_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = set(re.findall(r"`make ([a-z-]+)", README)) | {w.split()[1] for w in shell_lines() if w.startswith("make")}
    assert {"run", "server", "test", "test-long", "check", "bench"} <= named <= targets


def test_gate_table_is_the_default_configuration() -> None:
    rows = re.findall(r"^\| (\w+) \| [^\n]* \| (blocking|advisory)[^|]*\|$", README, flags=re.MULTILINE)
    gates = RunConfig().gates.model_dump()
    assert dict(rows) == {name: gate["severity"] for name, gate in gates.items()}
    assert f"{len(gates)} gates" in README


@pytest.mark.parametrize("path", sorted(set(re.findall(r"configs/\w+\.yaml|deployments/[\w.]+\.\w+", README))))
def test_named_file_exists(path: str) -> None:
    assert (ROOT / path).is_file()
    if path.startswith("configs/"):
        load_config(ROOT / path)


def test_named_rooms_exist() -> None:
    table = README.partition("## Map")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| ([^|]+) \|", table, flags=re.MULTILINE)[1:]
    top: list[Path] = []
    for cell in cells:
        inside = ROOT / "models_lib" if "&nbsp;" in cell else ROOT
        top += [inside / name for name in re.findall(r"`([\w./]+)`", cell)]
    assert len(top) > 15
    assert [str(path) for path in top if not path.exists()] == []
    rooms = {path.name for path in (ROOT / "models_lib").iterdir() if path.name.strip("_") == path.name}
    told = {path.name for path in top if path.parent.name == "models_lib"}
    assert rooms - told <= {"__pycache__"}


@pytest.mark.parametrize("line", re.findall(r"`\.venv/bin/python -m (studies\.[^`]+)`", README))
def test_shown_study_line_is_understood(line: str) -> None:
    module, *words = line.split()
    assert vars(importlib.import_module(module)._parser().parse_args(words))
    assert 'if __name__ == "__main__":' in (ROOT / f"{module.replace('.', '/')}.py").read_text()


def test_every_study_is_shown() -> None:
    shown = set(re.findall(r"python -m studies\.(\w+)", README))
    runnable = {path.stem for path in (ROOT / "studies").glob("*.py") if "__main__" in path.read_text()}
    assert shown == runnable


def test_named_deployments_are_those_of_the_file() -> None:
    deployments = yaml.safe_load((ROOT / "deployments/prefect.yaml").read_text())["deployments"]
    flows = {f"{re.split('[:.]', entry['entrypoint'])[-1].replace('_', '-')}/{entry['name']}" for entry in deployments}
    assert flows == {
        "train-all/nightly",
        "train-all/on-demand",
        "train-symbol/on-pool",
        "train-symbol/on-gpu",
        "deploy/on-demand",
        "compare/on-demand",
        "night-watch/every-10-minutes",
    }
    assert all(name in README for name in flows)
    nightly = next(entry for entry in deployments if entry["name"] == "nightly")
    assert [(one["cron"], one["timezone"]) for one in nightly["schedules"]] == [("0 2 * * *", "UTC")]
    assert "02:00 UTC" in README
