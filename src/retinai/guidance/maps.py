"""Grad-CAM of the true answers inside a training step, as a differentiable part of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from retinai.errors import ConfigError
from retinai.explain.cam import gradcam
from retinai.explain.layers import LAST, WatchedMap, find_layer, watch
from retinai.explain.scores import scores
from retinai.modules.training_terms import TrainingTerm

if TYPE_CHECKING:
    from retinai.data.datamodule import FundusDataModule


class MapTerm(TrainingTerm):
    """A term that is a function of the Grad-CAM of the true answer, of each photograph.

    The map is that of the last feature map in the step's own forward pass, so that batch norm measures each batch
    once; its gradient is differentiated again. With a weight, the forward pass is in single precision whatever the
    trainer's, and attention is computed in the way that can be differentiated twice.

    Args:
        name: Name of the configuration.
        weight: What the term is multiplied by, of either sign; 0 measures it and leaves the training as it is.

    Source: Selvaraju et al., "Grad-CAM", ICCV 2017, equations 1 and 2; as part of a loss: Li et al., "Tell Me Where
        to Look", CVPR 2018, section 3.
    """

    def __init__(self, name: str, weight: float) -> None:
        if not abs(float(weight)) < float("inf"):
            raise ConfigError([f"guidance.weight={weight} is no finite number"])
        self.name, self.weight = name, float(weight)
        self._layer: nn.Module | None = None

    def prepare(self, module: Any, datamodule: FundusDataModule) -> list[str]:
        """Look whether the network has a map of more than one cell."""
        training, side = module.training, module.preprocessing.input_size
        module.eval()
        with torch.no_grad(), self.watch(module) as seen:
            module.network.encoder.embed(torch.zeros(1, 3, side, side, device=module.device))
        module.train(training)
        assert seen.features is not None, "the encoder's last layer took part in the forward pass"
        seen.to_map(seen.features)
        return super().prepare(module, datamodule)

    @contextmanager
    def watch(self, module: Any) -> Iterator[WatchedMap]:
        """Keep the last feature map of the forward pass inside."""
        encoder = module.network.encoder
        if self._layer is None:
            self._layer = find_layer(encoder, LAST)
            module.train(module.training)  # looking for it may have changed the mode of frozen parts
        with ExitStack() as stack:
            stack.callback(self._layer.register_forward_hook(_differentiable).remove)
            if self.weight:
                stack.enter_context(torch.autocast(module.device.type, enabled=False))
                stack.enter_context(sdpa_kernel(SDPBackend.MATH))
            yield stack.enter_context(watch(encoder, self._layer))

    def maps(self, module: Any, seen: WatchedMap, logits: Tensor, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """Return the maps that are not zero everywhere, each with the sum 1, (N, h, w), and whose they are.

        Args:
            module: The module.
            seen: Of `watch`.
            logits: (B, num_outputs).
            batch: The batch.

        Returns:
            The maps and a bool tensor (B,) with N photographs.

        Raises:
            UserError: If the feature map is too coarse.
        """
        features = seen.features
        assert features is not None, "the encoder's last layer took part in the forward pass"
        score = true_scores(module, logits, batch["target"]).sum()
        (slopes,) = torch.autograd.grad(score, features, create_graph=bool(self.weight), retain_graph=True)
        found = gradcam(_single(seen.to_map(features)), _single(seen.to_map(slopes)))
        total = found.sum(dim=(1, 2))
        used = total > 0
        return found[used] / total[used][:, None, None], used


def true_scores(module: Any, logits: Tensor, targets: Tensor) -> Tensor:
    """Return the number that each map explains, (B,): the logit of the true class.

    Of several labels it is the sum of the logits of those that a photograph has, and with losses of ordered grades
    the expected grade.

    Args:
        module: The module.
        logits: (B, num_outputs).
        targets: As the task has them: int64 (B,), or float32 (B, C) of 0 and 1.
    """
    if targets.ndim == 2:
        return (module.criterion.class_logits(logits) * targets).sum(dim=1)
    return scores(module.criterion, logits, targets)


def _single(values: Tensor) -> Tensor:
    """Return values of half precision in single precision, any others as they are."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def _differentiable(layer: nn.Module, inputs: Any, output: Any) -> None:
    """Let the map of a frozen network have a gradient too."""
    features = output[0] if isinstance(output, tuple) else output
    if not features.requires_grad and torch.is_grad_enabled():
        features.requires_grad_()
