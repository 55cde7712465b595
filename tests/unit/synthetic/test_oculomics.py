"""Persons whose outcome depends on their vessels: its coefficients are found again."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.api import Logit, add_constant

from retinai.errors import UserError
from retinai.synthetic.layout_oculomics import LogOdds, draw_persons, read_log_odds


def test_a_logistic_regression_finds_the_coefficients_again() -> None:
    odds = LogOdds(artery=-1.2, tortuosity=0.8, age=0.5, male=0.4)
    persons = draw_persons(np.random.default_rng(0), 12_000, odds)
    columns = [[p.artery, p.tortuosity, p.vein, (p.age - 60) / 9, p.male] for p in persons]
    outcomes = np.array([p.outcome for p in persons])
    fitted = Logit(outcomes, add_constant(np.array(columns, float))).fit(disp=0)
    np.testing.assert_allclose(fitted.params, [-0.2, -1.2, 0.8, 0.0, 0.5, 0.4], atol=0.12)
    assert 0.45 < outcomes.mean() < 0.55


def test_age_confounds_and_veins_do_not_matter() -> None:
    persons = draw_persons(np.random.default_rng(1), 8000, LogOdds())
    values = np.array([[p.age, p.artery, p.tortuosity, p.vein] for p in persons])
    correlations = np.corrcoef(values.T)[0, 1:]
    np.testing.assert_allclose(correlations, [-0.3, 0.2, 0.0], atol=0.04)


def test_odds_that_make_no_sense() -> None:
    assert read_log_odds(None) == LogOdds() and read_log_odds({"artery": -3}).artery == -3
    with pytest.raises(UserError, match="age=inf is no finite number"):
        LogOdds(age=float("inf"))
