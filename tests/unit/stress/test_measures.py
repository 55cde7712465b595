"""What a stress test measures: severity 0 is the photograph itself, changes and groups are counted rightly."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import entropy
from sklearn.metrics import cohen_kappa_score

from retinai.data.photographs.field_of_view import find_field_of_view
from retinai.stress.measures import group_rows, groupings, retention, variant_rows
from retinai.stress.predicting import Stressed
from retinai.stress.variants import Variant, all_variants, vary
from retinai.tasks.known import DR_GRADE


def disc(side: int = 200) -> np.ndarray:
    y, x = np.mgrid[:side, : side + 60]
    pixels = np.zeros((side, side + 60, 3), np.uint8)
    inside = (y - side / 2) ** 2 + (x - side / 2 - 30) ** 2 < (0.45 * side) ** 2
    pixels[inside] = np.stack([150 + x // 4, 80 + y // 4, 40 + x // 8], axis=2)[inside]
    return pixels


def shares(grades: np.ndarray) -> np.ndarray:
    return 0.8 * np.eye(5)[grades] + 0.04


def test_severity_0_is_the_photograph_itself() -> None:
    image = disc()
    assert all_variants()[0] == Variant() and vary(image, Variant(), 0, find_field_of_view(image)) is image
    assert len({variant.name for variant in all_variants()}) == len(all_variants()) == 1 + 10 * 5 + 11


@pytest.mark.parametrize("variant", all_variants([1, 5], [90]), ids=lambda variant: variant.name)
def test_every_variant_changes_the_photograph_alike_each_time(variant: Variant) -> None:
    image = disc()
    view = find_field_of_view(image)
    first, second = (vary(image, variant, 3, view) for _ in range(2))
    assert first.dtype == np.uint8 and np.array_equal(first, second)
    if variant.severity and variant != Variant("resolution", 1):  # it has fewer pixels than severity 1 leaves
        assert first.shape != image.shape or not np.array_equal(first, image)


def test_four_quarter_turns_are_none() -> None:
    image = disc()
    view = find_field_of_view(image)
    turned = vary(image, Variant("rotation", 90), 0, view)
    back = vary(turned, Variant("rotation", 270), 0, find_field_of_view(turned))
    middle = tuple(slice(side // 2 - 60, side // 2 + 60) for side in back.shape[:2])
    row, column = view.top + view.height // 2, view.left + view.width // 2
    there = image[row - 60 : row + 60, column - 60 : column + 60]
    assert np.abs(back[middle].astype(int) - there).mean() < 3


def test_rows_are_those_of_scikit_learn_and_scipy() -> None:
    generator = np.random.default_rng(0)
    targets = generator.integers(0, 5, 60)
    plain, worse = targets.copy(), np.where(np.arange(60) < 20, 0, targets)
    probabilities = np.stack([shares(plain), shares(worse), shares(worse)])
    probabilities[2, :5] = np.nan
    variants = [Variant(), Variant("haze", 3), Variant("haze", 5)]
    rows = variant_rows(
        Stressed(variants, probabilities, [None] * 60, [(1, 1)] * 60), targets, list(map(str, range(60))), DR_GRADE,
        "argmax", 20,
    )  # fmt: skip
    assert rows[0]["value"] == pytest.approx(1) and rows[0]["changed"] == rows[0]["divergence"] == 0
    assert rows[1]["value"] == pytest.approx(cohen_kappa_score(targets, worse, weights="quadratic"), abs=1e-6)
    assert rows[1]["changed"] == np.mean(worse != plain)
    assert rows[1]["divergence"] == pytest.approx(entropy(shares(plain), shares(worse), axis=1).mean())
    assert (rows[2]["n"], rows[2]["refused"]) == (55, 5)
    kept = retention(rows)["haze"]
    a, b = rows[1]["value"], rows[2]["value"]
    assert kept == pytest.approx((3 * (1 + a) / 2 + 2 * (a + b) / 2) / 5)


def test_the_group_of_all_is_the_whole_and_chance_makes_no_gap() -> None:
    generator = np.random.default_rng(1)
    targets = generator.integers(0, 5, 200)
    found = np.where(generator.random(200) < 0.3, generator.integers(0, 5, 200), targets)
    whose = list(map(str, range(200)))
    halves = generator.permutation(["a", "b"] * 100).tolist()
    rows = group_rows({"half": halves, "all": ["x"] * 200}, shares(found), targets, whose, DR_GRADE, "argmax", 200)
    assert {row["grouping"] for row in rows} == {"half"} and rows[0]["p"] > 0.05
    assert sum(row["worst"] for row in rows) == 1
    place = np.array(halves) == "a"
    oracle = cohen_kappa_score(targets[place], found[place], weights="quadratic")
    assert rows[0]["value"] == pytest.approx(oracle, abs=1e-6)
    bad = np.where(place, generator.permutation(targets), targets)
    worse = group_rows({"half": halves}, shares(bad), targets, whose, DR_GRADE, "argmax", 200)
    assert next(row for row in worse if row["worst"])["group"] == "a" and worse[0]["p"] < 0.01


def test_groups_are_eye_size_and_quality() -> None:
    from retinai.quality import Quality

    qualities = [Quality("good", "", number / 9, 1.0) for number in range(9)] + [None]
    stressed = Stressed([Variant()], np.zeros((1, 10, 5)), qualities, [(10, 8)] * 5 + [(20, 16)] * 5)
    found = groupings(pd.DataFrame({"eye": ["left"] * 9 + [None]}), stressed)
    assert found["quality"] == ["best third"] * 3 + ["middle third"] * 3 + ["worst third"] * 3 + [""]
    assert found["size"][0] == "10 x 8" and found["eye"][-1] == ""
