"""Bundles: a model as an immutable folder that is known by its hash and refused when anything about it is wrong.

`write_bundle` makes a candidate, `add_run_facts` lays the run's facts and reports beside it, `load_bundle` opens one
after every check, `verify_bundle` says what each check found, `export_bundle` writes it for programs of others. No
pickle is read, and none is written but in that export (export.py says why).

Names are imported when they are first used: verifying hashes, as a rollback does, needs neither numba nor torch.

What does not belong here: where bundles are kept and which of them is champion (models_lib.registry).
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models_lib.bundle.export import export_bundle, export_torch
    from models_lib.bundle.facts import GateFact, RunFacts
    from models_lib.bundle.golden import Golden, record_golden
    from models_lib.bundle.hashes import verify_hashes
    from models_lib.bundle.kinds import (
        MarketFacts,
        clamped_rows,
        ensemble_manifest,
        ensemble_tensors,
        repaired_manifest,
    )
    from models_lib.bundle.manifest import (
        EnvelopeFacts,
        FeatureFacts,
        LabelFacts,
        Manifest,
        MemberFacts,
        RepairFacts,
        Span,
        SplitFacts,
    )
    from models_lib.bundle.predictor import OnnxPredictor, Predictor, TorchPredictor
    from models_lib.bundle.reader import Bundle, Finding, is_sound, load_bundle, verify_bundle
    from models_lib.bundle.tensors import with_temperature
    from models_lib.bundle.write import add_run_facts, write_bundle

_MODULES = {
    "export": ("export_bundle", "export_torch"),
    "facts": ("GateFact", "RunFacts"),
    "golden": ("Golden", "record_golden"),
    "hashes": ("verify_hashes",),
    "kinds": ("MarketFacts", "clamped_rows", "ensemble_manifest", "ensemble_tensors", "repaired_manifest"),
    "manifest": (
        "EnvelopeFacts",
        "FeatureFacts",
        "LabelFacts",
        "Manifest",
        "MemberFacts",
        "RepairFacts",
        "Span",
        "SplitFacts",
    ),
    "predictor": ("OnnxPredictor", "Predictor", "TorchPredictor"),
    "reader": ("Bundle", "Finding", "is_sound", "load_bundle", "verify_bundle"),
    "tensors": ("with_temperature",),
    "write": ("add_run_facts", "write_bundle"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "Bundle",
    "EnvelopeFacts",
    "FeatureFacts",
    "Finding",
    "GateFact",
    "Golden",
    "LabelFacts",
    "Manifest",
    "MarketFacts",
    "MemberFacts",
    "OnnxPredictor",
    "Predictor",
    "RepairFacts",
    "RunFacts",
    "Span",
    "SplitFacts",
    "TorchPredictor",
    "add_run_facts",
    "clamped_rows",
    "ensemble_manifest",
    "ensemble_tensors",
    "export_bundle",
    "export_torch",
    "is_sound",
    "load_bundle",
    "record_golden",
    "repaired_manifest",
    "verify_bundle",
    "verify_hashes",
    "with_temperature",
    "write_bundle",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
