"""The classifier: a backbone with attention and a linear head, trained on labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from retinai.models.attention import AttentionSettings
from retinai.models.backbone import build_backbone
from retinai.models.grader import Grader
from retinai.models.tuning import TuningReport, TuningSettings, apply_tuning
from retinai.modules.base import FundusModule, settings_from


class Classifier(FundusModule):
    """Grades photographs, or finds several diseases at once.

    Args:
        task: `Task.to_dict()` of the data.
        preprocessing: `Preprocessing.to_dict()`.
        class_counts: Samples (multilabel: positives) per class in the training split.
        backbone: The `backbone` section.
        attention: The `attention` section.
        tuning: The `tuning` section.
        loss: The `loss` section.
        optimizer: The `optimizer` section.
        scheduler: The `scheduler` section.
        dropout: Probability of dropping a pooled feature.
        test_time_flips: Predictions are the mean of the probabilities of the photograph and its
            horizontal, vertical and double flip; validation during training does without.
        seed: Decides the initial weights and, with the epoch, dropout.
        num_samples: Samples in the training split.
        name: Name of the configuration.

    Raises:
        ConfigError: If sections do not fit the task or each other.
    """

    def __init__(
        self,
        *,
        task: dict[str, Any],
        preprocessing: dict[str, Any],
        class_counts: Sequence[int],
        backbone: dict[str, Any],
        attention: dict[str, Any],
        tuning: dict[str, Any],
        loss: dict[str, Any],
        optimizer: dict[str, Any],
        scheduler: dict[str, Any],
        dropout: float = 0.2,
        test_time_flips: bool = False,
        seed: int = 0,
        num_samples: int | None = None,
        name: str = "classifier",
    ) -> None:
        super().__init__(
            task=task,
            preprocessing=preprocessing,
            class_counts=class_counts,
            loss=loss,
            optimizer=optimizer,
            scheduler=scheduler,
            seed=seed,
            num_samples=num_samples,
        )
        self.model_name = name
        self.test_time_flips = bool(test_time_flips)

    def build_network(self) -> nn.Module:
        """Return the backbone with attention, pooling, dropout and a linear head."""
        attention: AttentionSettings = settings_from(self.hparams["attention"], AttentionSettings)
        backbone = build_backbone(self.hparams["backbone"])
        return Grader(backbone, attention, self.objective.num_outputs, float(self.hparams["dropout"]))

    def tune(self) -> TuningReport:
        """Freeze what the `tuning` section leaves as it is."""
        return apply_tuning(self.network, settings_from(self.hparams["tuning"], TuningSettings))

    def predict_probabilities(self, images: Tensor) -> Tensor:
        """Return class probabilities, shape (B, C), averaged over flips where that is asked for."""
        views = [images]
        if self.test_time_flips:
            views += [images.flip(3), images.flip(2), images.flip(2, 3)]
        return torch.stack([self.objective.probabilities(self(view)) for view in views]).mean(dim=0)
