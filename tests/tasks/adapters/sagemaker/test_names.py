"""Job names: made from content, within SageMaker's rules, whatever a symbol looks like."""

import re

import pytest

from tasks.adapters.sagemaker.names import Keys, job_identity, job_name

RULE = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")
PARTS = {
    "inputs_sha256": "a" * 64,
    "image": "i",
    "archive_sha256": "b" * 64,
    "instance_type": "ml.m5.large",
    "device": "cpu",
}


@pytest.mark.parametrize(
    ("symbol", "slug"),
    [
        ("BTC-USD", "btc-usd"),
        ("BTC/USDT:USDT", "btc-usdt-usdt"),
        ("--", "symbol"),
        ("€", "symbol"),
        ("1000SHIB_USD", "1000shib-usd"),
        ("a" * 200, "a" * 37),
        ("a" * 36 + "-b", "a" * 36),
    ],
)
def test_name_of_any_symbol_is_one_that_sagemaker_takes(symbol, slug):
    name = job_name(symbol, "0123456789abcdef", 99_999)
    assert name == f"crpbot-{slug}-0123456789ab-99999"
    assert RULE.fullmatch(name)
    assert len(name) <= 63


@pytest.mark.parametrize("part", sorted(PARTS))
def test_whatever_makes_another_model_makes_another_name(part):
    assert job_identity(**PARTS) == job_identity(**PARTS)
    assert job_identity(**PARTS) != job_identity(**{**PARTS, part: "another"})


def test_inputs_and_archive_lie_under_their_own_content():
    keys = Keys.of(inputs_sha256="1" * 64, archive_sha256="2" * 64, identity="3" * 64)
    assert keys == Keys(
        inputs=f"inputs/{'1' * 64}", archive=f"code/{'2' * 64}.tar.gz", checkpoints=f"checkpoints/{'3' * 64}"
    )
