"""Writing a bundle: a new folder under a temporary name, checked as any reader would, then renamed.

What does not belong here: the store (models_lib.registry) and the report's content (models_lib.reports).
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models_lib.bundle import layout
from models_lib.bundle.facts import RunFacts
from models_lib.bundle.golden import Golden
from models_lib.bundle.hashes import verify_hashes
from models_lib.bundle.manifest import Manifest
from models_lib.bundle.parsing import parse_json
from models_lib.bundle.reader import load_bundle
from models_lib.bundle.tensors import checked_tensors, encode
from models_lib.errors import BundleError
from models_lib.files import fresh_folder, fsync_folder, sha256_bytes, write_bytes, write_json


def write_bundle(
    folder: Path, *, tensors: Mapping[str, npt.NDArray[np.float32]], manifest: Manifest, golden: Golden
) -> str:
    """Writes a candidate and returns its hash. Doing it twice is doing it once.

    model.onnx is made here, from the same tensors; that the golden vectors come out of it proves the two engines equal.
    The folder appears whole or not at all, and only after it was read back and passed every check of `load_bundle`.

    Args:
        folder: where it shall stand; its parents are made.
        tensors: weights, scaler and fitted temperature.
        manifest: what the model is.
        golden: recorded with these tensors.

    Raises:
        BundleError: the model breaks a rule of bundles, or another bundle stands there already.
    """
    from models_lib.networks.onnx_graph import onnx_model  # noqa: PLC0415 - brings torch and onnx: only who writes waits

    checked_tensors(tensors, num_features=len(manifest.features.names))
    with fresh_folder(folder) as fresh:
        write_bytes(fresh / layout.MODEL_FILE, encode(tensors))
        write_bytes(fresh / layout.ONNX_FILE, onnx_model(manifest.architecture, tensors))
        write_json(fresh / layout.MANIFEST_FILE, manifest.to_json())
        write_bytes(fresh / layout.GOLDEN_FILE, golden.to_bytes())
        _write_hashes(fresh)
        bundle = load_bundle(fresh, symbol=manifest.symbol)
        if folder.exists():
            _check_same(folder, bundle.hash)
        else:
            fresh.rename(folder)
            fsync_folder(folder.parent)
    return bundle.hash


def add_run_facts(folder: Path, *, facts: RunFacts, reports: Mapping[str, bytes]) -> None:
    """Lays run.json and the reports beside a candidate; its identity stays as it is. Doing it twice is doing it once.

    hashes.json is written last: a crash in between leaves a folder that is refused until this is done again.

    Args:
        folder: a candidate of `write_bundle`, not one of the store, which are immutable.
        facts: the run and its gate report.
        reports: file name -> content, such as report.html.

    Raises:
        BundleError: the facts are about another bundle, or the candidate changed since it was written.
    """
    _check_unchanged(folder, facts)
    shutil.rmtree(folder / layout.REPORTS_FOLDER, ignore_errors=True)
    for name, content in reports.items():
        path = f"{layout.REPORTS_FOLDER}/{name}"
        if not layout.is_safe(path):
            raise BundleError(f"{name!r} cannot name a report: use letters, digits, dots and dashes.")
        write_bytes(folder / path, content)
    write_json(folder / layout.RUN_FILE, facts.to_json())
    _write_hashes(folder)
    verify_hashes(folder, expected_hash=facts.bundle)


def _write_hashes(folder: Path) -> None:
    write_json(folder / layout.HASHES_FILE, layout.hashes_json(layout.hashes_of(layout.read_files(folder))))


def _check_same(folder: Path, bundle_hash: str) -> None:
    found = verify_hashes(folder)
    if found != bundle_hash:
        raise BundleError(
            f"{folder}: bundle {found[:12]} stands there already, and this one is {bundle_hash[:12]}. "
            f"Bundles are never overwritten: choose another folder."
        )


def _check_unchanged(folder: Path, facts: RunFacts) -> None:
    actual = layout.bundle_hash({path: sha256_bytes(content) for path, content in layout.read_files(folder).items()})
    stated = parse_json((folder / layout.HASHES_FILE).read_bytes(), name=layout.HASHES_FILE).get("bundle")
    if not actual == stated == facts.bundle:
        raise BundleError(
            f"{folder}: the content is bundle {actual[:12]}, {layout.HASHES_FILE} says {str(stated)[:12]} and the facts "
            f"are about {facts.bundle[:12]}. Write the candidate again."
        )
