"""The ledger's lines about champion and candidate: told where they are there, and nothing else is asked of earlier lines."""

from typing import Any

import pytest
from pydantic import JsonValue

from models_lib.registry.ledger import LedgerEntry, gates_summary, read_chain
from tests.judged import at

BEFORE = (
    '{"action":"promote","cost_usd":0.5,"from":null,"gates":{"failed_advisory":["edge_after_costs"],"passed":12},'
    '"hash":"13cc4449e1f22e01ef13a59be9d2d0a148fc8e061be2e79b921a8ecfab4a29c6","index":0,'
    f'"previous_hash":"{"0" * 64}","run_id":"run-1","symbol":"BTC-USD","time":"2026-01-01T00:07:00Z",'
    f'"to":"{"a" * 64}","who":"me@here","why":"first"}}'
).encode()
"""A line as it was written before lines kept the comparison."""
MEASURED: dict[str, Any] = {
    "nll_difference": 0.0129,
    "nll_difference_interval": [-0.0021, 0.0279],
    "rows": 2_740,
    "champion_accuracy": 0.732,
    "champion_nll": 0.601,
    "candidate_accuracy": 0.741,
    "candidate_nll": 0.5881,
    "note": "on 2,740 test rows after the validation ends of both",
}
PAIR = "NLL 0.5881 against the champion's 0.6010 on 2,740 rows after the validation ends of both: +0.0129"


def line_after(before: LedgerEntry, against_champion: JsonValue) -> LedgerEntry:
    changes = {
        "index": 1,
        "from_bundle": "a" * 64,
        "to_bundle": "b" * 64,
        "why": "better",
        "time": at(8),
        "gates": gates_summary(14, [], against_champion),
        "previous_hash": before.hash,
    }
    return before.model_copy(update=changes).sealed()


@pytest.mark.parametrize(
    ("against_champion", "told"),
    [
        (MEASURED, f"better ({PAIR}, -0.0021 to +0.0279)"),
        (MEASURED | {"nll_difference_interval": None}, f"better ({PAIR}, no interval)"),
        (
            dict.fromkeys(MEASURED) | {"note": "the champion was trained on another label"},
            "better (not compared with the champion: the champion was trained on another label)",
        ),
        (MEASURED | {"note": "n", "of_a_later_version": 1}, f"better ({PAIR}, -0.0021 to +0.0279)"),
        ({"rows": "many"}, "better"),
        (3, "better"),
        (None, "better"),
    ],
)
def test_promotion_tells_how_the_candidate_did_and_continues_earlier_lines(
    against_champion: JsonValue, told: str
) -> None:
    (before,) = read_chain([BEFORE]).entries
    assert before.sentence().endswith("none -> aaaaaaaaaaaa by me@here: first")
    entry = line_after(before, against_champion)
    chain = read_chain([BEFORE, entry.line()])
    assert chain.damage == ()
    assert chain.entries[1].gates.get("against_champion") == against_champion
    assert chain.entries[1].sentence().endswith(f" by me@here: {told}")
