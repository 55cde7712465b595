"""The prediction step that makes maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from retinai.errors import UserError
from retinai.explain.layers import find_layer
from retinai.explain.methods import Question, all_maps
from retinai.explain.scores import check_target, target_classes
from retinai.explain.view import ViewField
from retinai.modules.classifier import Classifier
from retinai.prediction.steps import PROBABILITY, PredictionStep


class Maps(PredictionStep):
    """Maps of one or several methods for each photograph, with the classes that they are of.

    Args:
        module: The classifier that is explained.
        methods: Names of `methods.METHODS`.
        target: Which classes get a map, see `scores.target_classes`.
        layer: `last`, or the name of a layer of the encoder's network.

    Raises:
        UserError: If the module is no classifier, or target or layer do not exist.
    """

    name = "maps"
    needs_gradients = True

    def __init__(self, module: Any, methods: Sequence[str], target: str = "decided", layer: str = "last") -> None:
        if not isinstance(module, Classifier):
            raise UserError(
                f"model={module.model_name} is not explained here; retinai explain takes checkpoints of "
                "model=classifier and model=distiller"
            )
        check_target(target, module.task)
        self.methods, self.target = tuple(methods), target
        self.layer = find_layer(module.network.encoder, layer)

    def run(self, module: Any, batch: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
        """Return `probability` (B, C), `class` (B, T), and the map of each method, (B, T, h, w)."""
        inputs = module.network_inputs(batch)
        with torch.no_grad():
            probabilities = module.criterion.probabilities(module(*inputs)).float()
        truths: Tensor | None = batch.get("target")
        known = None if truths is None else truths.tolist()
        classes = target_classes(self.target, module.task, probabilities, module.decision_rule, known)
        classes = classes.to(probabilities.device)
        question = Question(module, inputs, classes, batch[ViewField.name], self.layer)
        return {PROBABILITY: probabilities, "class": classes, **all_maps(question, self.methods)}
