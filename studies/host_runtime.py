"""Measures the trading host's runtime beside one that has torch in place of ONNX Runtime: disk, memory, start-up.

    python -m studies.host_runtime --bundle FOLDER [--symbols 3] [--rounds 5]

FOLDER is any bundle of the store. Both runtimes read it with the same code, compute the newest bar's features and answer it,
each in fresh processes that can import only the packages which pip would install for it. The torch runtime reads a copy
of the bundle without model.onnx. Disk: the installed files of those packages, as their own records list them.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from models_lib.bundle import layout
from models_lib.files import write_json

ROOT = Path(__file__).parents[1]
HOST_PROJECT = ROOT / "deployments/runtime/pyproject.toml"
ENGINES = ("onnxruntime", "torch")

_ANSWER = """
import json, sys
elsewhere, folder, symbols, served = json.loads(sys.argv[1])


class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in elsewhere:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, NotInstalled())

from pathlib import Path
from models_lib.bundle import load_bundle
from models_lib.bundle.golden import parse_golden
from models_lib.features import SERVING_BARS, compute_features

bundles = [load_bundle(folder, only_as_served=served) for _ in range(symbols)]
candles = parse_golden(Path(folder, "golden/golden.safetensors").read_bytes()).candles().iloc[-SERVING_BARS:]
features = compute_features(candles.reset_index(drop=True))[-1:]
for bundle in bundles:
    assert bundle.predictor.probabilities(features).shape == (1, 3)
memory = dict(line.split(":") for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:])
print(json.dumps({
    "engine": type(bundles[0].predictor).__name__,
    "pss_mb": int(memory["Pss"].split()[0]) / 1024,
    "rss_mb": int(memory["Rss"].split()[0]) / 1024,
}), flush=True)
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True, help="folder of a bundle")
    parser.add_argument("--symbols", type=int, default=3, help="bundles that one process holds")
    parser.add_argument("--rounds", type=int, default=5, help="fresh processes of each; the median counts")
    return parser


def main() -> None:
    """Prints one line a runtime."""
    arguments = _parser().parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folders = {"onnxruntime": arguments.bundle.resolve(), "torch": Path(scratch, "without-onnx")}
        _without_onnx(folders["onnxruntime"], folders["torch"])
        measured: dict[str, list[dict[str, Any]]] = {engine: [] for engine in ENGINES}
        for turn in range(arguments.rounds + 1):
            for engine in ENGINES:
                found = _answered(engine, folders[engine], symbols=arguments.symbols)
                if turn > 0:  # the first fills the caches of kernels and files
                    measured[engine].append(found)
    for engine, rounds in measured.items():
        figures = {name: statistics.median(one[name] for one in rounds) for name in ("seconds", "pss_mb", "rss_mb")}
        print(
            f"{engine:12} {_disk_mb(engine):6.0f} MB on disk, {figures['rss_mb']:5.0f} MB resident "
            f"({figures['pss_mb']:.0f} MB its own), first bar answered after {figures['seconds']:.2f} s"
        )


def host_requirements(engine: str = "onnxruntime") -> list[Requirement]:
    """What the host's distribution asks for, with another engine in the place of ONNX Runtime."""
    dependencies = tomllib.loads(HOST_PROJECT.read_text())["project"]["dependencies"]
    return [
        Requirement(engine) if Requirement(entry).name == ENGINES[0] else Requirement(entry) for entry in dependencies
    ]


def distributions(wanted: Iterable[Requirement]) -> set[str]:
    """The distributions that pip installs for these requirements, without extras."""
    found: set[str] = set()
    waiting = list(wanted)
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name not in found and (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
            found.add(name)
            waiting += [Requirement(entry) for entry in metadata.requires(name) or ()]
    return found


def packages_beyond(there: set[str]) -> set[str]:
    """Top-level names that this environment has and one with only these distributions has not."""
    return {
        package
        for package, owners in metadata.packages_distributions().items()
        if not there & {canonicalize_name(owner) for owner in owners} and package not in sys.stdlib_module_names
    }


def _answered(engine: str, folder: Path, *, symbols: int) -> dict[str, Any]:
    """Seconds from the start of a fresh process to its first answer, and its memory then."""
    elsewhere = packages_beyond(distributions(host_requirements(engine))) - {"flows", "tasks", "models_lib", "studies"}
    order = json.dumps([sorted(elsewhere), str(folder), symbols, engine == ENGINES[0]])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    begun = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-c", _ANSWER, order], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        seconds = time.perf_counter() - begun
    found: dict[str, Any] = json.loads(line)
    assert found["engine"] == {"onnxruntime": "OnnxPredictor", "torch": "TorchPredictor"}[engine]
    return {**found, "seconds": seconds}


def _disk_mb(engine: str) -> float:
    """Of the packages; ours come to a few hundred kilobytes."""
    total = 0
    for name in distributions(host_requirements(engine)):
        for file in metadata.files(name) or ():
            path = Path(str(file.locate()))
            total += path.stat().st_size if path.is_file() else 0
    return total / 1e6


def _without_onnx(folder: Path, copy: Path) -> None:
    """The bundle as one from before model.onnx, sealed again."""
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns(layout.ONNX_FILE, layout.RUN_FILE))
    manifest = json.loads((copy / layout.MANIFEST_FILE).read_text())
    write_json(
        copy / layout.MANIFEST_FILE, {**{k: v for k, v in manifest.items() if k != "envelope"}, "schema_version": 1}
    )
    write_json(copy / layout.HASHES_FILE, layout.hashes_json(layout.hashes_of(layout.read_files(copy))))


if __name__ == "__main__":
    main()
