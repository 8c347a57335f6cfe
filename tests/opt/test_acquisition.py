import math

import numpy as np
import pytest

from rush_opt.search.acquisition import lower_confidence_bound
from rush_opt.search.exploration import LAMBDA_MEAN, decayed_lambda, draw_lambda


def test_the_bound_is_the_mean_less_lambda_standard_deviations() -> None:
    mean, sd = np.array([1.0, 2.0]), np.array([0.5, 2.0])
    np.testing.assert_array_equal(lower_confidence_bound(mean, sd, 0.0), mean)
    np.testing.assert_array_equal(lower_confidence_bound(mean, sd, 2.0), [0.0, -2.0])


def test_a_negative_lambda_is_refused() -> None:
    with pytest.raises(ValueError, match=r"need lam >= 0, got -0\.1"):
        lower_confidence_bound(np.zeros(1), np.zeros(1), -0.1)


def test_lambda_decays_over_a_period_and_starts_again() -> None:
    found = [decayed_lambda(2.0, t, rate=0.1, period=25) for t in range(51)]
    assert found[0] == found[25] == found[50] == 2.0
    assert found[24] == pytest.approx(2.0 * math.exp(-2.4))
    np.testing.assert_allclose(found[:25], found[25:50])
    assert sorted(found[:25], reverse=True) == found[:25]


def test_lambda_is_drawn_from_the_exponential_distribution() -> None:
    rng = np.random.default_rng(11)
    draws = np.array([draw_lambda(rng) for _ in range(4000)])
    assert draws.min() >= 0.0
    # The mean of n exponentials has sd mean / sqrt(n); five of them: false alarms below 1e-6.
    assert draws.mean() == pytest.approx(LAMBDA_MEAN, abs=5 * LAMBDA_MEAN / math.sqrt(4000))
    share_above = (draws > LAMBDA_MEAN * math.log(2)).mean()  # above the median
    assert share_above == pytest.approx(0.5, abs=5 * 0.5 / math.sqrt(4000))
