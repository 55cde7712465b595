"""What the page says of one eye and of a patient: grade, probabilities, what to do and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from retinai.app.guideline import Guideline
from retinai.errors import UserError
from retinai.quality import Quality

# What is to be done, the most urgent first.
Action = Literal["refer", "unsure", "recheck", "review", "routine"]
ACTIONS: tuple[Action, ...] = get_args(Action)
EYES = ("right", "left")
# What `refer_if` may name beside operating points.
_WORDS = ("grade", "set", "outside")


@dataclass(frozen=True)
class Reason:
    """Why something is to be done: a text of `texts/` under `why.` and its values.

    Args:
        key: Of the text.
        values: What it says in its braces; names of classes are translated where it is shown.
    """

    key: str
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ReferralRule:
    """What refers a patient: the key `refer_if`.

    Args:
        grade: The decided grade is one that the guideline refers.
        set: A grade that the guideline refers cannot be ruled out: then it is unsure.
        threshold: The probability of all grades that the guideline refers together reaches this; None: not asked.
        outside: The photograph lies outside what the network saw: then it is unsure, unless it is referred anyway.
    """

    grade: bool = True
    set: bool = True
    threshold: float | None = None
    outside: bool = True

    @classmethod
    def of_words(cls, words: Sequence[str], calibration: Mapping[str, Any] | None) -> ReferralRule:
        """Return the rule of a configuration.

        Args:
            words: `grade`, `set`, `outside`, and names of operating points, of which the one with the lowest threshold
                counts.
            calibration: Of the model.

        Raises:
            UserError: If the model has no such operating point; names those that it has.
        """
        points = (calibration or {}).get("operating_points") or {}
        named = [word for word in words if word not in _WORDS]
        unknown = [word for word in named if word not in points]
        if unknown:
            known = ", ".join([*_WORDS, *points])
            raise UserError(f"refer_if={unknown[0]}: the model has no such operating point (valid: {known})")
        thresholds = [float(points[word]["threshold"]) for word in named]
        return cls("grade" in words, "set" in words, min(thresholds, default=None), "outside" in words)


@dataclass(frozen=True, eq=False)
class EyeResult:
    """What was found of one photograph.

    Args:
        eye: `right`, `left`, or empty where nobody said which.
        photograph: SHA-256 of the file.
        classes: The decided grade, or the labels that hold; empty where there is no grade.
        probabilities: Class -> probability, scaled by the calibration; empty where there is no grade.
        possible: The grades that cannot be ruled out; empty where the model has no sets.
        quality: `good`, `usable` or `reject`; empty where it could not be judged.
        patient: SHA-256 of the patient's ID where the file says it, as DICOM files do; else empty.
        heat: What the grade rests on as a JPEG; empty where nobody asked.
        outlines: Of each mask of the model points of polygons over the preview, see `retinai.app.outlines`; empty
            where nobody asked.
        action: One of `ACTIONS`.
        reasons: Why, the weightiest first.
        milliseconds: From the bytes to this result.
        preview: The field of view as a JPEG.
    """

    eye: str
    photograph: str
    classes: tuple[str, ...]
    probabilities: Mapping[str, float]
    action: Action
    reasons: tuple[Reason, ...]
    milliseconds: int
    preview: bytes = field(default=b"", repr=False)
    possible: tuple[str, ...] = ()
    quality: str = ""
    patient: str = ""
    heat: bytes = field(default=b"", repr=False)
    outlines: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)

    @property
    def graded(self) -> bool:
        """Whether it has a grade, or labels of which none may hold."""
        return bool(self.probabilities)

    def output(self) -> dict[str, Any]:
        """Return plain values for the record and for other software: all but the picture."""
        return {
            "eye": self.eye,
            "photograph_sha256": self.photograph,
            "prediction": list(self.classes),
            "probabilities": dict(self.probabilities),
            "set": list(self.possible),
            "quality": self.quality,
            "action": self.action,
            "reasons": [asdict(reason) for reason in self.reasons],
        }


def decide_action(
    classes: Sequence[str],
    possible: Sequence[str],
    probabilities: Mapping[str, float],
    guideline: Guideline | None,
    rule: ReferralRule,
) -> tuple[Action, tuple[Reason, ...]]:
    """Return what is to be done about a grade, and why.

    Args:
        classes: What was decided.
        possible: The grades that cannot be ruled out.
        probabilities: Class -> probability.
        guideline: Says who is referred; None where none is for the task.
        rule: What else refers, or makes unsure.
    """
    if guideline is None:
        return "review", (Reason("no_border"),)
    referred = [name for name in classes if guideline.grades[name].refer]
    if rule.grade and referred:
        return "refer", (Reason("grade", {"grade": referred[-1]}),)
    score = sum(value for name, value in probabilities.items() if guideline.grades[name].refer)
    if rule.threshold is not None and score >= rule.threshold:
        values = {"score": f"{score:.2f}", "threshold": f"{rule.threshold:.2f}"}
        return "refer", (Reason("threshold", values),)
    if rule.set and any(guideline.grades[name].refer for name in possible):
        return "unsure", (Reason("set", {"grades": list(possible)}),)
    return "routine", (Reason("below", {"grade": classes[-1]}),) if classes else ()


def with_distance(
    action: Action, reasons: tuple[Reason, ...], distance: float | None, rule: ReferralRule
) -> tuple[Action, tuple[Reason, ...]]:
    """Return what is to be done once it is known how far the photograph lies from those of the training.

    Args:
        action: What its grade asks for.
        reasons: Why.
        distance: Above 1 it lies outside; None where the model does not tell.
        rule: Whether that counts.
    """
    if not rule.outside or distance is None or distance <= 1:
        return action, reasons
    told = Reason("outside", {"distance": f"{distance:.1f}"})
    return ("unsure", (told, *reasons)) if action in ("routine", "unsure") else (action, (*reasons, told))


def with_quality(
    action: Action, reasons: tuple[Reason, ...], quality: Quality | None
) -> tuple[Action, tuple[Reason, ...]]:
    """Return what is to be done once the quality of the photograph is known: one to be rejected is taken again.

    That holds for every grade: a network reads the worst grades out of dark and blurred photographs of healthy eyes,
    too.

    Args:
        action: What its grade asks for.
        reasons: Why.
        quality: The verdict; None where there is none.
    """
    if quality is None or quality.verdict == "good":
        return action, reasons
    told = Reason(quality.verdict, {"fault": quality.fault})
    if quality.verdict == "reject":
        return "recheck", (told, *reasons)
    return action, (*reasons, told)


def most_urgent(results: Sequence[EyeResult]) -> EyeResult:
    """Return the result of several eyes that decides for the patient: the most urgent, of two the later grade."""
    return min(results, key=lambda result: ACTIONS.index(result.action))
