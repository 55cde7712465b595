"""Class activation maps: a map of features and its gradient become one number per cell.

All of them take activations A and gradients dy/dA of shape (B, K, h, w) and give (B, h, w). Nothing is rescaled, so
that maps of different photographs can be compared; negative evidence is kept where a method has it.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

_EPSILON = 1e-6


def gradcam(activations: Tensor, gradients: Tensor) -> Tensor:
    """Return ReLU(sum_k mean(g_k) A_k).

    Source: Selvaraju et al., "Grad-CAM", ICCV 2017, equations 1 and 2.
    """
    return weighted_sum(activations, gradients).relu()


def weighted_sum(activations: Tensor, gradients: Tensor) -> Tensor:
    """Return sum_k mean(g_k) A_k: Grad-CAM before its ReLU; after a global mean and a linear head it is CAM / cells."""
    return (gradients.mean(dim=(2, 3), keepdim=True) * activations).sum(dim=1)


def gradcam_plus_plus(activations: Tensor, gradients: Tensor) -> Tensor:
    """Return Grad-CAM++: gradients that are positive weigh more where they are steep.

    Source: Chattopadhay et al., "Grad-CAM++", WACV 2018, equations 10 and 19, with the exponential as the score.
    """
    squared = gradients.square()
    below = 2 * squared + activations.sum(dim=(2, 3), keepdim=True) * squared * gradients + _EPSILON
    alpha = (squared / below).where(gradients != 0, gradients.new_zeros(()))
    weights = (alpha * gradients.relu()).sum(dim=(2, 3), keepdim=True)
    return (weights * activations).sum(dim=1).relu()


def hirescam(activations: Tensor, gradients: Tensor) -> Tensor:
    """Return sum_k g_k * A_k, negative evidence too; after a linear head its sum is the logit minus the bias.

    Source: Draelos and Carin, "Use HiResCAM instead of Grad-CAM", 2020, equation 3.
    """
    return (gradients * activations).sum(dim=1)


def layercam(activations: Tensor, gradients: Tensor) -> Tensor:
    """Return ReLU(sum_k ReLU(g_k) * A_k).

    Source: Jiang et al., "LayerCAM", IEEE TIP 2021, equations 5 and 6.
    """
    return (gradients.relu() * activations).sum(dim=1).relu()


# What `method=` calls those that need gradients; CAM itself reads the head's weights and is in methods.py.
CAMS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "gradcam": gradcam,
    "gradcampp": gradcam_plus_plus,
    "hirescam": hirescam,
    "layercam": layercam,
}
