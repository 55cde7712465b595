"""Probes against plain scikit-learn, SMOTE against imbalanced-learn, and parts that are too small."""

from __future__ import annotations

import numpy as np
import pytest
from imblearn.over_sampling import SMOTE
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from retinai.embeddings.estimators import PENALTIES, STRENGTHS, ProbeSettings, fit_classifier, fit_number
from retinai.embeddings.few_shots import draw_patients
from retinai.embeddings.smote import oversample


def sample(n: int = 120, classes: int = 3) -> tuple[np.ndarray, np.ndarray, list[str]]:
    rng = np.random.default_rng(0)
    targets = rng.choice(classes, n, p=[0.6, 0.3, 0.1][:classes] if classes == 3 else None)
    features = rng.normal(targets[:, None] * 0.5, 1.0, (n, 12)).astype(np.float32)
    return features, targets, [f"p{i // 2}" for i in range(n)]


def test_the_linear_probe_is_scikit_learns_pipeline() -> None:
    features, targets, patients = sample()
    fitted = fit_classifier(features[:90], targets[:90], patients[:90], ProbeSettings())
    assert fitted.setting == "C" and fitted.value in STRENGTHS and fitted.folds == 5
    plain = make_pipeline(StandardScaler(), LogisticRegression(C=fitted.value, max_iter=20000))
    plain.fit(features[:90], targets[:90])
    np.testing.assert_allclose(fitted.probabilities(features[90:], 3), plain.predict_proba(features[90:]), atol=1e-10)
    # A class that was never seen has the probability 0.
    assert (fitted.probabilities(features[90:], 5)[:, 3:] == 0).all()


def test_the_ridge_of_a_number_is_scikit_learns() -> None:
    features, targets, patients = sample()
    numbers = targets + features[:, 0].astype(np.float64)
    fitted = fit_number(features, numbers, patients, ProbeSettings())
    groups = np.unique(patients, return_inverse=True)[1]
    grid = {"ridge__alpha": list(PENALTIES)}
    model = make_pipeline(StandardScaler(), Ridge())
    search = GridSearchCV(model, grid, cv=GroupKFold(5), scoring="neg_mean_squared_error")
    search.fit(features, numbers, groups=groups)
    assert fitted.value == search.best_params_["ridge__alpha"]
    np.testing.assert_allclose(fitted.model.predict(features), search.predict(features))


def test_nearest_neighbours_know_what_they_were_shown() -> None:
    features, targets, patients = sample()
    fitted = fit_classifier(features, targets, patients, ProbeSettings("knn"))
    assert fitted.setting == "n_neighbors"
    np.testing.assert_array_equal(fitted.probabilities(features, 3).argmax(axis=1), targets)  # each is its own nearest


@pytest.mark.parametrize("seed", [0, 3])
def test_smote_is_imbalanced_learns(seed: int) -> None:
    features, targets, _ = sample()
    expected = SMOTE(random_state=np.random.RandomState(seed)).fit_resample(features, targets)
    found = oversample(features, targets, seed=seed)
    np.testing.assert_array_equal(found[1], expected[1])
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5, atol=1e-6)


def test_the_smote_probe_is_fitted_on_the_filled_classes_alone() -> None:
    features, targets, patients = sample()
    fitted = fit_classifier(features, targets, patients, ProbeSettings(smote=True))
    scaler = StandardScaler().fit(features)  # of the real rows
    filled = oversample(scaler.transform(features), targets)
    plain = LogisticRegression(C=fitted.value, max_iter=20000).fit(*filled)
    np.testing.assert_allclose(
        fitted.probabilities(features, 3), plain.predict_proba(scaler.transform(features)), atol=1e-6
    )


def test_a_class_of_one_is_repeated() -> None:
    features = sample()[0]
    filled, labels = oversample(features[:6], np.array([0, 0, 0, 0, 0, 1]))
    assert (labels == 1).sum() == 5 and (filled[labels == 1] == features[5]).all()


def test_patients_too_few_for_folds_take_the_default() -> None:
    features, targets, _ = sample(20, 2)
    patients = ["one" if target else f"p{row}" for row, target in enumerate(targets)]
    fitted = fit_classifier(features, targets, patients, ProbeSettings())
    assert (fitted.folds, fitted.value) == (0, 1.0)


def test_few_shots_keep_patients_whole_and_two_of_each_class() -> None:
    _, targets, patients = sample()
    drawn = draw_patients(targets, patients, 5, 4, seed=1)
    assert len(drawn) == 4 and len({tuple(rows) for rows in drawn}) == 4
    for rows in drawn:
        assert all((targets[rows] == label).sum() >= 2 for label in range(3))
        chosen = {patients[row] for row in rows}
        assert set(rows) == {row for row, patient in enumerate(patients) if patient in chosen}
    assert [rows.tolist() for rows in draw_patients(targets, patients, 100, 4, 1)] == [list(range(120))]
    again = draw_patients(targets, patients, 5, 4, seed=1)
    assert all(np.array_equal(a, b) for a, b in zip(drawn, again, strict=True))
