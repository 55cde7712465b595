"""The `loss` section: one model per loss."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from retinai.config.sections.base import UNSET, BuiltSection, Name, Section, Share, ShareBelowOne

# The highest is `retinai.losses.base.LARGEST_GAMMA`, which is not imported here: it would bring PyTorch along.
Focusing = Annotated[float, Field(ge=0, le=100)]


class Loss(BuiltSection):
    """A loss without settings of its own."""

    builds: ClassVar[tuple[str, ...]] = (
        "retinai.losses.ordinal.Coral",
        "retinai.losses.ordinal.Corn",
    )
    name: Name = UNSET


class Answer(Loss):
    """`loss=answer`."""

    builds: ClassVar[tuple[str, ...]] = ("retinai.llava.loss.AnswerLikelihood",)
    grade_weight: Annotated[float, Field(ge=0.001, le=1000)] = UNSET


class Smoothed(Loss):
    """A loss whose labels can be smoothed."""

    builds: ClassVar[tuple[str, ...]] = (
        "retinai.losses.cross_entropy.CrossEntropy",
        "retinai.losses.bce.BinaryCrossEntropy",
    )
    label_smoothing: ShareBelowOne = UNSET


class Joint(Loss):
    """`loss=joint`."""

    builds: ClassVar[tuple[str, ...]] = ("retinai.losses.joint.JointCrossEntropy",)
    second_weight: Annotated[float, Field(ge=0, le=1000)] = UNSET
    label_smoothing: ShareBelowOne = UNSET


class Asymmetric(Loss):
    """`loss=asymmetric`."""

    builds: ClassVar[tuple[str, ...]] = ("retinai.losses.bce.Asymmetric",)
    gamma_negative: Focusing = UNSET
    gamma_positive: Focusing = UNSET
    clip: ShareBelowOne = UNSET


class Focal(Loss):
    """`loss=focal`."""

    builds: ClassVar[tuple[str, ...]] = ("retinai.losses.focal.Focal",)
    gamma: Focusing = UNSET
    alpha: Share | None = UNSET


class ClassBalanced(Loss):
    """`loss=class_balanced` and its focal form."""

    builds: ClassVar[tuple[str, ...]] = ("retinai.losses.balanced.ClassBalanced",)
    base: Literal["softmax", "bce", "focal"] | None = UNSET
    gamma: Focusing = UNSET
    label_smoothing: ShareBelowOne = UNSET
    against: Literal["negatives", "labels"] = UNSET


class EffectiveNumber(ClassBalanced):
    """`loss=effective_number` and its focal form."""

    builds: ClassVar[tuple[str, ...]] = ("retinai.losses.balanced.EffectiveNumber",)
    beta: ShareBelowOne = UNSET


class Regression(Loss):
    """`loss=regression`."""

    builds: ClassVar[tuple[str, ...]] = ("retinai.losses.regression.GradeRegression",)
    loss: Literal["smooth_l1", "mse"] = UNSET
    fit_on_validation: bool = UNSET


class Number(Loss):
    """`loss=number`."""

    builds: ClassVar[tuple[str, ...]] = ("retinai.losses.number.NumberRegression",)
    loss: Literal["smooth_l1", "mse", "l1"] = UNSET


MODELS: tuple[type[Section], ...] = (
    Loss, Answer, Smoothed, Joint, Asymmetric, Focal, ClassBalanced, EffectiveNumber, Regression, Number,
)  # fmt: skip
