"""The figures of a diagnosis, worked by hand."""

import math

import numpy as np
import pytest

from models_lib.calibration import softmax
from models_lib.legacy.diagnosis import FirstLayer, best_temperature, examine_answers, examine_layer


def one_weight(
    weight: float, *, mean: float | None = None, scale: float | None = None, clip: float = np.inf
) -> FirstLayer:
    """A layer of one unit over one feature."""
    return FirstLayer(
        weight=np.array([[weight]]),
        bias=np.zeros(1),
        mean=None if mean is None else np.array([mean]),
        scale=None if scale is None else np.array([scale]),
        clip=np.array([clip]),
    )


def column(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)[:, None]


def test_a_raw_price_times_its_weight_is_the_activation() -> None:
    figures = examine_layer(one_weight(0.16), column(79_568, 79_000, 78_432), ["close"])
    (close,) = figures.features
    assert (close.number, close.name, close.scale) == (1, "close", None)
    assert close.largest_input == 79_568
    assert close.largest_weight == 0.16
    assert close.largest_activation == pytest.approx(12_730.88, abs=1e-9)
    assert figures.largest == pytest.approx(12_730.88, abs=1e-9)
    assert figures.median == pytest.approx(0.16 * 79_000)
    assert close.mean == pytest.approx(79_000)
    # Deviations 568, 0, -568: the population variance is 2 x 568^2 / 3.
    assert close.std == pytest.approx(568 * math.sqrt(2 / 3))


def test_the_scaler_stands_before_the_layer_and_the_clip_behind_the_moments() -> None:
    figures = examine_layer(one_weight(-0.5, mean=100.0, scale=10.0, clip=5.0), column(90, 110, 200), ["close"])
    (close,) = figures.features
    assert close.mean == pytest.approx((-1 + 1 + 10) / 3)  # before the clip
    assert close.std == pytest.approx(math.sqrt((1 + 1 + 100) / 3 - 100 / 9))
    assert close.largest_input == 5.0  # after it
    assert close.largest_activation == 2.5
    assert close.off_norm == pytest.approx(max(10 / 3, close.std - 1))
    assert close.scale == 10.0


def test_features_are_ranked_by_what_they_cause_alone() -> None:
    layer = FirstLayer(
        weight=np.array([[1.0, 0.0, -2.0], [-3.0, 0.0, 0.5]]),
        bias=np.array([0.5, -0.5]),
        mean=None,
        scale=None,
        clip=np.full(3, np.inf),
    )
    rows = np.array([[1.0, 1e9, 2.0], [2.0, 0.0, -4.0]], dtype=np.float32)
    figures = examine_layer(layer, rows, ["a", "b", "c"])
    assert [(feature.name, feature.largest_activation) for feature in figures.worst()] == [
        ("c", 8.0),  # 2 x 4
        ("a", 6.0),  # 3 x 2
        ("b", 0.0),  # no weight, whatever it reaches
    ]
    # Row 1: 1 - 4 + .5 = -2.5 and -3 + 1 - .5 = -2.5; row 2: 2 + 8 + .5 = 10.5 and -6 - 2 - .5 = -8.5.
    assert figures.largest == 10.5
    assert figures.median == (2.5 + 8.5) / 2
    assert figures.furthest_off().name == "b"


def test_many_rows_give_the_same_figures_as_one_block() -> None:
    rng = np.random.default_rng(3)
    features = (79_568 + 300 * rng.normal(size=(20_000, 4))).astype(np.float32)
    layer = FirstLayer(
        weight=rng.normal(size=(8, 4)), bias=rng.normal(size=8), mean=None, scale=None, clip=np.full(4, np.inf)
    )
    figures = examine_layer(layer, features, list("abcd"))
    x = features.astype(np.float64)
    assert [feature.mean for feature in figures.features] == pytest.approx(x.mean(axis=0), rel=1e-12)
    assert [feature.std for feature in figures.features] == pytest.approx(x.std(axis=0), rel=1e-9)
    assert figures.largest == pytest.approx(np.abs(x @ layer.weight.T + layer.bias).max())


def test_a_scale_of_zero_reaches_infinity_without_a_crash() -> None:
    figures = examine_layer(one_weight(1.0, mean=1.0, scale=0.0), column(1, 2), ["flat"])
    assert figures.features[0].off_norm == np.inf
    assert figures.worst()[0].name == "flat"


def test_features_of_another_width_are_refused() -> None:
    with pytest.raises(ValueError, match=r"features must be \[n, 1\] with n > 0"):
        examine_layer(one_weight(1.0), np.zeros((3, 2), dtype=np.float32), ["a"])
    with pytest.raises(ValueError, match="n > 0"):
        examine_layer(one_weight(1.0), np.zeros((0, 1), dtype=np.float32), ["a"])


def test_answers_are_counted_as_they_are_emitted() -> None:
    logits = np.array([[0, 0, 0], [math.log(8), 0, 0], [0, 0, 52_011], [np.nan, 0, 0]], dtype=np.float64)
    figures = examine_answers(logits)
    assert (figures.rows, figures.non_finite_rows) == (4, 1)
    assert figures.logit_min == (0, 0, 0)
    assert figures.logit_max == pytest.approx((math.log(8), 0, 52_011))
    assert figures.logit_mean == pytest.approx((math.log(8) / 3, 0, 52_011 / 3))
    assert figures.largest_logit == 52_011
    assert figures.class_shares == pytest.approx((2 / 3, 0, 1 / 3))
    assert figures.mean_confidence == pytest.approx((1 / 3 + 0.8 + 1) / 3)  # 8 of 8 + 1 + 1 parts are 0.8
    assert figures.share_over_90 == pytest.approx(1 / 3)
    assert figures.share_over_99 == pytest.approx(1 / 3)
    assert figures.share_50_90 == pytest.approx(1 / 3)
    assert figures.alike_share == pytest.approx(1 / 3)  # the medians are 0, 0, 0: the first row's


def test_rows_that_a_dead_network_answers_alike_are_counted() -> None:
    logits = np.tile([-0.036, 0.0211, 0.05], (100, 1))
    logits[:3] += [[0.01, 0, 0], [0, 1e-8, 0], [0, 0, -0.5]]
    assert examine_answers(logits).alike_share == 0.98


def test_answers_that_are_all_not_finite_have_no_figures() -> None:
    figures = examine_answers(np.full((5, 3), np.inf))
    assert (figures.rows, figures.non_finite_rows) == (5, 5)
    assert figures.largest_logit is figures.mean_confidence is figures.alike_share is figures.class_shares is None


@pytest.mark.parametrize("size", [0.15, 1.0, 52_011.0])
def test_the_best_temperature_is_found_whatever_the_size_of_the_logits(size: float) -> None:
    """Classes drawn from softmax(z): dividing `size` x z by `size` gives the truth back."""
    rng = np.random.default_rng(11)
    z = 2.0 * rng.normal(size=(20_000, 3))
    classes = (softmax(z).cumsum(axis=1) > rng.random((20_000, 1))).argmax(axis=1)
    best = best_temperature(size * z, classes, ece_limit=0.05, bins=15)
    assert best is not None
    assert not best.at_bound
    assert best.row.temperature == pytest.approx(size, rel=0.03)
    assert best.row.ece < 0.01
    assert best.row.mean_confidence == pytest.approx(float((z.argmax(axis=1) == classes).mean()), abs=0.01)


def test_logits_that_say_nothing_have_their_best_temperature_at_the_bound() -> None:
    rng = np.random.default_rng(2)
    best = best_temperature(rng.normal(size=(600, 3)), np.zeros(600, dtype=int), ece_limit=0.05, bins=15)
    assert best is not None
    constant = best_temperature(np.ones((600, 3)), rng.integers(0, 3, 600), ece_limit=0.05, bins=15)
    assert constant is not None
    assert constant.at_bound
    assert best_temperature(np.full((2, 3), np.nan), np.zeros(2, dtype=int), ece_limit=0.05, bins=15) is None
