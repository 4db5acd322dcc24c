"""`crpbot clean`: old runs, caches and held bundles go. It must work on a full disk, so it asks for no space."""

import argparse
import json
import sys
from collections import Counter
from datetime import UTC, datetime

from flows.home import crpbot_home, operator
from flows.plain_table import table_lines

_PLURAL = {
    "run": "runs",
    "study": "studies",
    "step result": "step results",
    "cache": "caches",
    "bundle": "bundles",
    "leftover": "leftovers",
}


def execute(arguments: argparse.Namespace) -> int:
    """Prints what went and how many bytes that frees; 1 when something could not be removed."""
    from models_lib.config import load_config
    from models_lib.config.sections import RetentionSection
    from models_lib.deployment.known import known_targets
    from models_lib.retention import clean_home, deployed_bundles
    from tasks.adapters.links import open_ssh
    from tasks.adapters.results import leavings
    from tasks.adapters.stores import open_store

    home, config = crpbot_home(), load_config(arguments.config, arguments.settings)
    section, days = config.retention, arguments.older_than
    if days is not None:
        section = RetentionSection(cache_days=days, runs_days=days, held_bundles_days=days)
    deployed = deployed_bundles(known_targets(home, config.deployment, ssh=open_ssh, who=operator()))
    cleaned = clean_home(
        home,
        section,
        store=open_store(home, config.storage, config.aws),
        now=datetime.now(UTC),
        elsewhere=leavings(config),
        deployed=deployed,
        dry_run=arguments.dry_run,
    )
    if arguments.json:
        print(json.dumps(cleaned.to_json(), indent=2, sort_keys=True))
    else:
        rows = [(item.kind, item.path, _size(item.size_bytes), item.why) for item in cleaned.removed]
        if rows:
            print("\n".join(table_lines(("removed", "what", "size", "why"), rows, "<<><")))
        did = "would be freed" if cleaned.dry_run else "freed"
        print(f"{_size(cleaned.freed_bytes)} {did}: {_counted([item.kind for item in cleaned.removed])}")
    for fault in cleaned.faults:
        print(f"crpbot: {fault}", file=sys.stderr)
    return 1 if cleaned.faults else 0


def _counted(kinds: list[str]) -> str:
    counts = Counter(kinds).items()
    return ", ".join(f"{count} {kind if count == 1 else _PLURAL[kind]}" for kind, count in counts) or "nothing"


def _size(count: int) -> str:
    """Bytes for people, in binary units."""
    size = float(count)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
