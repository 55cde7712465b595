"""Who is referred, taken again, or left: by grades, sets, thresholds and quality; and the texts that say so."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from retinai.app.guideline import Guideline
from retinai.app.results import (
    ACTIONS,
    EyeResult,
    Reason,
    ReferralRule,
    decide_action,
    most_urgent,
    with_distance,
    with_quality,
)
from retinai.app.texts import LANGUAGES, Texts, choose_language, load_texts
from retinai.config.paths import conf_dir
from retinai.errors import UserError
from retinai.quality import Quality
from retinai.quality.verdict import REASONS
from retinai.tasks.known import DME_RISK, DR_GRADE

FLAT = dict.fromkeys(DR_GRADE.classes, 0.2)


def section(name: str = "ico_2017") -> dict[str, Any]:
    return yaml.safe_load((conf_dir() / "recommendation" / f"{name}.yaml").read_text(encoding="utf-8"))


def guideline() -> Guideline:
    found = Guideline.of_section(section(), DR_GRADE)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("grade", "possible", "rule", "action", "why"),
    [
        ("no_dr", ("no_dr", "mild"), ReferralRule(), "routine", "below"),
        ("mild", ("mild", "moderate"), ReferralRule(), "unsure", "set"),
        ("mild", ("mild", "moderate"), ReferralRule(set=False), "routine", "below"),
        ("moderate", ("mild", "moderate"), ReferralRule(), "refer", "grade"),
        ("mild", ("mild",), ReferralRule(threshold=0.6), "refer", "threshold"),  # 3 of 5 grades at 0.2
        ("mild", ("mild",), ReferralRule(threshold=0.61), "routine", "below"),
        ("mild", (), ReferralRule(), "routine", "below"),
    ],
)
def test_the_rule(grade: str, possible: tuple[str, ...], rule: ReferralRule, action: str, why: str) -> None:
    found, reasons = decide_action((grade,), possible, FLAT, guideline(), rule)
    assert (found, reasons[0].key) == (action, why)


def test_without_a_guideline_a_clinician_decides() -> None:
    assert Guideline.of_section(section(), DME_RISK) is None
    assert decide_action(("high",), (), {}, None, ReferralRule())[0] == "review"


def test_a_guideline_that_leaves_grades_out_is_refused() -> None:
    cut = section()
    del cut["grades"]["severe"]
    with pytest.raises(UserError, match="severe"):
        Guideline.of_section(cut, DR_GRADE)


@pytest.mark.parametrize(
    ("action", "verdict", "becomes", "first"),
    [
        ("routine", "good", "routine", "below"),
        ("routine", "usable", "routine", "below"),
        ("routine", "reject", "recheck", "reject"),
        ("unsure", "reject", "recheck", "reject"),
        ("refer", "reject", "recheck", "reject"),  # networks read the worst grades out of dark photographs
    ],
)
def test_quality(action: str, verdict: str, becomes: str, first: str) -> None:
    quality = Quality(verdict, "" if verdict == "good" else "haze", 0.9, 1.0)
    found, reasons = with_quality(action, (Reason("below"),), quality)
    assert (found, reasons[0].key) == (becomes, first) and len(reasons) == (1 if verdict == "good" else 2)


def test_the_worse_eye_decides() -> None:
    eyes = [EyeResult("left", "", (), {}, action, (), 0) for action in reversed(ACTIONS)]
    assert most_urgent(eyes).action == "refer" and most_urgent(eyes[:2]).action == ACTIONS[-2]


def test_operating_points_are_those_of_the_model() -> None:
    calibration = {"operating_points": {"sensitivity_90": {"threshold": 0.3}, "youden": {"threshold": 0.5}}}
    assert ReferralRule.of_words(["grade", "sensitivity_90", "youden"], calibration) == ReferralRule(
        True, False, 0.3, outside=False
    )
    for words, known in ((["sensitivity_99"], calibration), (["youden"], None)):
        with pytest.raises(UserError, match="no such operating point"):
            ReferralRule.of_words(words, known)


def leaves(content: Any, place: str = "") -> dict[str, set[str]]:
    """Return key -> the names in braces of each text."""
    import string

    if isinstance(content, dict):
        return {k: v for key, value in content.items() for k, v in leaves(value, f"{place}.{key}").items()}
    lines = content if isinstance(content, list) else [content]
    return {place: {name for line in lines for _, name, _, _ in string.Formatter().parse(line) if name}}


@pytest.mark.parametrize("code", LANGUAGES)
def test_every_language_says_the_same(code: str) -> None:
    t = load_texts(code)
    assert leaves(t.content) == leaves(load_texts("en").content)
    assert set(t.content["fault"]) == set(REASONS) - {"no_retina"}
    assert set(t.content["classes"]) == set(t.content["meaning"]) == set(DR_GRADE.classes)
    assert set(t.content["action"]) == set(ACTIONS)
    for name in ("ico_2017", "ico_2017_low_resource"):
        assert all(advice[code].strip() for advice in section(name)["grades"].values())


def test_texts_are_filled_in_and_unknown_classes_keep_their_names() -> None:
    t: Texts = load_texts("en")
    assert t("why.grade", grade="x") == "The grade “x” is referred." and t.class_name("high") == "high"
    assert t.meaning("high") == ""


@pytest.mark.parametrize(
    ("header", "language"),
    [("es-MX,es;q=0.9,en;q=0.8", "es"), ("de,hi;q=0.5,en;q=0.4", "hi"), ("fr", "en"), ("", "en"), ("es;q=x", "en"),
     ("es;q=0,en", "en")],
)  # fmt: skip
def test_the_language_of_the_browser(header: str, language: str) -> None:
    assert choose_language(header, "en") == language


@pytest.mark.parametrize(
    ("action", "distance", "rule", "then", "keys"),
    [
        ("routine", 1.0, ReferralRule(), "routine", ["below"]),
        ("routine", None, ReferralRule(), "routine", ["below"]),
        ("routine", 1.4, ReferralRule(), "unsure", ["outside", "below"]),
        ("unsure", 1.4, ReferralRule(), "unsure", ["outside", "below"]),
        ("refer", 1.4, ReferralRule(), "refer", ["below", "outside"]),
        ("review", 1.4, ReferralRule(), "review", ["below", "outside"]),
        ("routine", 1.4, ReferralRule(outside=False), "routine", ["below"]),
    ],
)
def test_what_lies_outside_the_training_is_unsure_unless_it_is_referred(
    action: Any, distance: float | None, rule: ReferralRule, then: str, keys: list[str]
) -> None:
    found, reasons = with_distance(action, (Reason("below"),), distance, rule)
    assert (found, [reason.key for reason in reasons]) == (then, keys)
