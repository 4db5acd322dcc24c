"""A small learnable problem: 2 of 8 features say the class, and no market is needed."""

import numpy as np
import pytest
import torch

from models_lib.scaling import fit_scaler
from models_lib.training import TrainingData


@pytest.fixture(autouse=True)
def one_repeatable_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)


@pytest.fixture
def learnable():
    def data(*, rows=1_500, seed=0, noise=0.5, shuffled=False, num_features=8):
        rng = np.random.default_rng(seed)
        features = (rng.normal(size=(rows, num_features)) * 3 + 5).astype(np.float32)
        score = (features[:, 0] - features[:, 1]) / 4.24 + noise * rng.normal(size=rows)
        classes = np.digitize(score, np.quantile(score, [1 / 3, 2 / 3])).astype(np.int8)
        if shuffled:
            rng.shuffle(classes)
        train, validation = np.arange(rows * 2 // 3), np.arange(rows * 2 // 3 + 10, rows)
        return TrainingData(features, classes, train, validation, fit_scaler(features, train))

    return data
