"""The criterion of a language model that grades: the likelihood of the written answer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from omegaconf import DictConfig
from torch import Tensor
from torch.nn import functional

from retinai.llava.settings import only_for_llava
from retinai.losses.base import Criterion


class AnswerLikelihood(Criterion):
    """Negative log-likelihood of answers; the grades' probabilities are those of their sentences.

    Training learns the tokens of whole answers (`llava/likelihood.py:answer_loss`). What this
    class scores are the log-likelihoods of the candidate grades' sentences, which take the place of
    logits in validation and prediction.

    Args:
        **options: Options of `Criterion`.
    """

    target_types: ClassVar[tuple[str, ...]] = ("ordered",)
    trains_classifiers: ClassVar[bool] = False

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)

    @classmethod
    def config_problems(cls, cfg: DictConfig) -> Iterable[str]:
        """Return that it was chosen for another kind of model."""
        return only_for_llava(cfg, "loss")

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean negative log-probability of the true grade among the candidates, a scalar.

        Args:
            logits: Log-likelihoods of the candidates, (B, C).
            targets: int64 (B,).
        """
        return functional.cross_entropy(logits.float(), targets)
