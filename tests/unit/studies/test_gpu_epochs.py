"""The GPU study on the CPU: it counts right and says on which device it ran; its seconds mean nothing there."""

import pytest
import torch

from models_lib.errors import ConfigError
from studies.gpu_epochs import measure, random_data, table


def test_study_counts_its_steps_and_names_the_device():
    symbols = [random_data(2_000, seed=seed) for seed in (0, 1)]
    small, large = (measure(symbols, device="cpu", batch=batch, epochs=1) for batch in (64, 256))
    # 1,400 of 2,000 rows train: 21 batches of 64, 5 of 256; two symbols, one epoch
    assert (small.steps, large.steps) == (42, 10)
    assert small.device == "cpu"
    assert 0.0 < small.epoch_seconds < small.seconds
    head, _, *lines = table([small, large]).splitlines()
    assert head == f"cpu, torch {torch.__version__}: 2 symbols x 1 epochs"
    assert [line.split()[:2] for line in lines] == [["64", "42"], ["256", "10"]]


def test_study_without_a_gpu_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="this machine has none"):
        measure([random_data(1_000, seed=0)], device="cuda", batch=64, epochs=1)
