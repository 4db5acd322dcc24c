"""Verdicts as a store keeps them: run.json of a run that judged a bundle, under the SHA-256 of its content.

What does not belong here: what a verdict says (models_lib.bundle.facts), and which one counts (registry.py).
"""

from collections.abc import Iterable

from models_lib.bundle.facts import RunFacts, parse_facts
from models_lib.errors import BundleError
from models_lib.files import sha256_bytes


def read_verdict(content: bytes, *, name: str, sha256: str, bundle_hash: str) -> RunFacts:
    """The facts in a kept verdict.

    Args:
        content: as kept.
        name: where it lies, for people.
        sha256: under which it is kept.
        bundle_hash: whose verdict it is kept as.

    Raises:
        BundleError: it was changed, or is about another bundle.
    """
    facts = parse_facts(content) if sha256_bytes(content) == sha256 else None
    if facts is None or facts.bundle != bundle_hash:
        raise BundleError(
            f"{name}: this verdict was changed, or is about another bundle. Remove it, then judge the bundle again."
        )
    return facts


def by_time(facts: Iterable[RunFacts]) -> tuple[RunFacts, ...]:
    """By time of judgement, the newest last."""
    return tuple(sorted(facts, key=lambda fact: (fact.judged_at, fact.run_id)))
