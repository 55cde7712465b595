"""The criterion of a language model that grades: the likelihood of the written answer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from omegaconf import DictConfig
from torch import Tensor
from torch.nn import functional

from retinai.llava.settings import only_for_llava
from retinai.losses.base import Criterion, require_range

_LARGEST = 1000.0


class AnswerLikelihood(Criterion):
    """Negative log-likelihood of answers; the grades' probabilities are those of their sentences.

    Training learns the tokens of whole answers (`llava/likelihood.py:answer_loss`). What this
    class scores are the log-likelihoods of the candidate grades' sentences, which take the place of
    logits in validation and prediction.

    Args:
        grade_weight: Weight of the tokens of the grade's sentence in the mean over an answer's tokens; the others weigh
            1. On annotated photographs a dozen findings follow one digit.
        **options: Options of `Criterion`.

    Raises:
        ConfigError: If the weight is out of range (0.001 to 1000).
    """

    target_types: ClassVar[tuple[str, ...]] = ("ordered", "labels")
    trains_classifiers: ClassVar[bool] = False

    def __init__(self, *, grade_weight: float = 1.0, **options: Any) -> None:
        super().__init__(**options)
        self.grade_weight = require_range("grade_weight", grade_weight, 1 / _LARGEST, _LARGEST)

    @classmethod
    def config_problems(cls, cfg: DictConfig) -> Iterable[str]:
        """Return that it was chosen for another kind of model."""
        return only_for_llava(cfg, "loss")

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean negative log-probability of the true grade among the candidates, or of each label, a scalar.

        Args:
            logits: Log-likelihoods of the candidates, or of yes over no for each label, (B, C).
            targets: int64 (B,), or float32 (B, C).
        """
        if self.task.distribution == "bernoulli":
            return functional.binary_cross_entropy_with_logits(logits.float(), targets)
        return functional.cross_entropy(logits.float(), targets)
