"""KernelSHAP and LIME: what each part of a photograph adds to the score, from photographs with parts covered at random.

The parts are superpixels inside the field of view; a covered one has the mean colour of the view. Nothing but the
score is asked of the network, so that any network can be explained.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from retinai.errors import MissingExtraError, missing_extra

if TYPE_CHECKING:
    from retinai.explain.methods import Question

SUPERPIXELS = 40
SAMPLES = 400
_AT_ONCE = 64
_COMPACTNESS = 10.0  # of SLIC: below, superpixels follow colours into every vessel; above, they are squares
_BLUR = 1.0  # in pixels, before colours are compared
_KERNEL_WIDTH = 0.25  # of LIME, as its authors have it for photographs, with the ridge penalty of 1


def superpixels(image: Tensor, inside: NDArray[np.bool_], count: int = SUPERPIXELS) -> NDArray[np.int64]:
    """Return the superpixels of a photograph: 0 outside the field of view, 1 to n inside, int64 (S, S).

    Args:
        image: Normalised, (3, S, S).
        inside: Field of view, (S, S).
        count: How many are wanted; SLIC gives about as many.

    Raises:
        MissingExtraError: If scikit-image is not installed.

    Source: Achanta et al., "SLIC Superpixels", IEEE TPAMI 2012; with a mask: Irving, "maskSLIC", 2016.
    """
    try:
        from skimage.segmentation import slic
    except ModuleNotFoundError as error:
        raise MissingExtraError("skimage", "explain") from error
    if not inside.any():
        return np.zeros(inside.shape, np.int64)
    pixels = image.detach().float().cpu().permute(1, 2, 0).numpy()
    low, high = float(pixels.min()), float(pixels.max())
    shown = (pixels - low) / max(high - low, 1e-6)
    found = slic(shown, n_segments=count, compactness=_COMPACTNESS, sigma=_BLUR, mask=inside, start_label=1)
    parts = np.zeros(inside.shape, np.int64)
    parts[inside] = np.unique(found[inside], return_inverse=True)[1] + 1
    return parts


def kernelshap(question: Question, samples: int = SAMPLES) -> Tensor:
    """Return estimated Shapley values of superpixels, each spread evenly over its pixels, (B, T, S, S).

    Their sum is the score minus that of a view in its mean colour.

    Args:
        question: What to explain.
        samples: Photographs with covered superpixels for each photograph and class.

    Raises:
        MissingExtraError: If captum or scikit-image is not installed.

    Source: Lundberg and Lee, "A Unified Approach to Interpreting Model Predictions", NeurIPS 2017, theorem 2, as
        captum has it.
    """
    return _explain(question, samples, shapley_method)


def lime(question: Question, samples: int = SAMPLES) -> Tensor:
    """Return the weights of a linear model of the score near the photograph, spread over superpixels, (B, T, S, S).

    Each superpixel is covered with a chance of a half; photographs count by exp(-d^2 / (2 * 0.25^2)) of their cosine
    distance d to the whole one, and the weights are shrunk by a ridge penalty of 1.

    Args:
        question: What to explain.
        samples: Photographs with covered superpixels for each photograph and class.

    Raises:
        MissingExtraError: If captum or scikit-image is not installed.

    Source: Ribeiro, Singh and Guestrin, "Why Should I Trust You?", KDD 2016, equation 2 and section 3.4, as captum
        has it.
    """
    return _explain(question, samples, lime_method)


def _explain(question: Question, samples: int, method: Callable[[Any], Any]) -> Tensor:
    """Return the maps of a method that weighs superpixels, (B, T, S, S)."""
    images, baseline = question.inputs[0].detach(), question.baseline
    kinds, side = question.classes.shape[1], images.shape[-1]
    maps = images.new_zeros(len(images), kinds, side, side)
    for i, image in enumerate(images):
        parts = superpixels(image, question.inside[i].cpu().numpy())
        if parts.max() == 0:  # no field of view, nothing to cover
            continue
        labels = torch.from_numpy(parts).to(images.device)
        for number in range(kinds):

            def score(pixels: Tensor, i: int = i, number: int = number) -> Tensor:
                with torch.no_grad():
                    return question.score(pixels, number, torch.full((len(pixels),), i, device=pixels.device))

            weights = weigh(method(score), image[None], baseline[i][None], labels, samples)
            areas = torch.bincount(labels.flatten(), minlength=len(weights) + 1)[1:].clamp_min(1)
            spread = torch.cat([weights.new_zeros(1), weights / areas])
            maps[i, number] = spread[labels]
    return maps


def weigh(method: Any, image: Tensor, baseline: Tensor, labels: Tensor, samples: int) -> Tensor:
    """Return the weight of each superpixel, (n,); the same photographs are drawn every time.

    Args:
        method: Of `shapley_method` or `lime_method`.
        image: One photograph, (1, 3, S, S).
        baseline: The same with everything covered.
        labels: Its superpixels, int64 (S, S): 1 to n, and 0 where both are alike.
        samples: Photographs with covered superpixels.
    """
    if int(labels.max()) < 2:  # nothing to choose from
        return (method.forward_func(image) - method.forward_func(baseline)).to(image)
    # Pixels outside the view are alike in both, so that it does not matter to which part they are counted.
    mask = (labels - 1).clamp_min(0)[None, None]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        found = method.attribute(
            image,
            baselines=baseline,
            feature_mask=mask,
            n_samples=samples,
            perturbations_per_eval=_AT_ONCE,
            return_input_shape=False,
        )
    return found[0].to(image)


def shapley_method(score: Callable[[Tensor], Tensor]) -> Any:
    """Return captum's KernelSHAP of a score, (N,) of photographs (N, 3, S, S)."""
    return _captum().KernelShap(score)


def lime_method(score: Callable[[Tensor], Tensor]) -> Any:
    """Return captum's LIME of a score, (N,) of photographs (N, 3, S, S)."""
    attr = _captum()
    from captum._utils.models.linear_model import SkLearnRidge

    return attr.Lime(score, interpretable_model=SkLearnRidge(alpha=1.0), similarity_func=_nearness)


def _nearness(original: Tensor, changed: Tensor, kept: Tensor, **more: Any) -> Tensor:
    """Return how much a photograph counts, (1,), from which of its superpixels are kept, 0 or 1, (1, n)."""
    share = kept.float().mean()
    distance = 1 - share.sqrt()  # cosine between the kept ones and all: sqrt of their share
    return torch.exp(-(distance**2) / (2 * _KERNEL_WIDTH**2))[None]


def _captum() -> Any:
    try:
        import captum.attr
    except ModuleNotFoundError as error:
        raise missing_extra(error) or error from error
    return captum.attr
