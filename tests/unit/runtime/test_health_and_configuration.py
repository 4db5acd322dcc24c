"""health.json, its port on loopback, and runtime.yaml."""

import json
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import pytest

from models_lib.errors import ConfigError
from models_lib.runtime.configuration import RuntimeConfig, read_runtime_config
from models_lib.runtime.health import Health, HealthServer, read_health, write_health
from tests.ports import free_port

NOW = datetime(2026, 1, 5, tzinfo=UTC)


def example_health() -> Health:
    return Health(
        runtime_version="0.1.0",
        mode="live",
        pid=1,
        started_at=NOW,
        written_at=NOW,
        ready=True,
        last_error=None,
        symbols={},
    )


def test_health_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_health(tmp_path) is None
    write_health(tmp_path, example_health())
    assert read_health(tmp_path) == example_health()
    assert [path.name for path in tmp_path.iterdir()] == ["health.json"]
    (tmp_path / "health.json").write_text('{"ready": true}')
    assert read_health(tmp_path) is None


def test_health_is_served_on_loopback_until_it_is_closed() -> None:
    port = free_port()
    content = [b'{"n": 1}']
    with HealthServer(port, lambda: content[0]):
        for number in (1, 2):
            content[0] = json.dumps({"n": number}).encode()
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5.0) as answer:
                assert answer.headers["Content-Type"] == "application/json"
                assert json.loads(answer.read()) == {"n": number}
        with pytest.raises(ConfigError, match="Choose another runtime"):
            HealthServer(port, lambda: b"")
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5.0)


def test_without_a_file_the_defaults_count(tmp_path: Path) -> None:
    assert read_runtime_config(tmp_path) == RuntimeConfig()
    (tmp_path / "runtime.yaml").write_text("signals:\nruntime: {stale_after_seconds: 90}\n")
    assert read_runtime_config(tmp_path).runtime.stale_after_seconds == 90.0


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        (
            "runtime: {stale_after_second: 90}",
            "stale_after_second: unknown key. Did you mean runtime.stale_after_seconds",
        ),
        ("runtime: {source: http}", "runtime.url must be set"),
        ("runtime: {source: http, url: 'ftp://x'}", "runtime.url"),
        ("runtime: {poll_seconds: 0}", "runtime.poll_seconds"),
        ("signals: {min_confidence: 2}", "signals.min_confidence"),
        ("- a", "must hold sections"),
        ("runtime: {", "not valid YAML"),
        ("runtime: {pace_seconds: 1}\nruntime: {pace_seconds: 2}", "stands twice"),
        ("runtime: !!python/object/apply:os.getpid []", "not valid YAML"),
    ],
)
def test_wrong_configuration_is_refused_with_its_place(tmp_path: Path, text: str, fact: str) -> None:
    (tmp_path / "runtime.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"runtime\.yaml") as refusal:
        read_runtime_config(tmp_path)
    assert fact in str(refusal.value)
