"""The methods: how a map of each photograph is made, one function for each family."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from retinai.errors import UserError, missing_extra
from retinai.explain.cam import CAMS
from retinai.explain.layers import watch
from retinai.explain.scores import scores
from retinai.explain.superpixels import kernelshap, lime
from retinai.modules.classifier import Classifier

OCCLUSION_CELLS = 8
_STEPS = 32  # of the path of integrated gradients
_AT_ONCE = 64  # photographs in a pass of the methods that need many


@dataclass(frozen=True, eq=False)
class Question:
    """What is to be explained of a batch.

    Args:
        module: A trained classifier in evaluation mode.
        inputs: Of `network_inputs`: photographs (B, 3, S, S), and what branches read.
        classes: Which classes get a map, int64 (B, T).
        inside: Field of view of each photograph, bool (B, S, S).
        layer: The layer whose output class activation maps read.
    """

    module: Classifier
    inputs: tuple[Tensor, ...]
    classes: Tensor
    inside: Tensor
    layer: nn.Module

    def score(self, images: Tensor, number: int, rows: Tensor | None = None) -> Tensor:
        """Return the explained number for other pixels of the same photographs, (N,).

        Args:
            images: (N, 3, S, S).
            number: Which of the T classes.
            rows: Which photograph each of them is, int64 (N,); None where they stand in order.
        """
        rows = torch.arange(len(images), device=images.device) if rows is None else rows
        logits = self.module(images, *(value[rows] for value in self.inputs[1:]))
        return scores(self.module.criterion, logits, self.classes[rows, number])

    @property
    def baseline(self) -> Tensor:
        """The photographs with the field of view in its mean colour, (B, 3, S, S): no detail is left to see."""
        images, weight = self.inputs[0].detach(), self.inside[:, None].float()
        mean = (images * weight).sum(dim=(2, 3), keepdim=True) / weight.sum(dim=(2, 3), keepdim=True).clamp_min(1)
        return torch.where(self.inside[:, None], mean, images)


def class_activation_maps(question: Question, names: Sequence[str]) -> dict[str, Tensor]:
    """Return maps of the methods of `cam.CAMS`, each (B, T, h, w), from one forward pass and a backward pass per class.

    Raises:
        UserError: If the layer's output is no map, or too coarse.
    """
    images, *more = question.inputs
    images = images.detach().requires_grad_()  # so that a frozen network has gradients too
    with watch(question.module.network.encoder, question.layer) as watched:
        logits = question.module(images, *more)
    if watched.features is None:
        raise UserError("the layer took no part in the forward pass, so it has no map; choose another layer=")
    activations = watched.to_map(watched.features).detach()
    maps: dict[str, list[Tensor]] = {name: [] for name in names}
    for number in range(question.classes.shape[1]):
        total = scores(question.module.criterion, logits, question.classes[:, number]).sum()
        (gradient,) = torch.autograd.grad(total, watched.features, retain_graph=True)
        slopes = watched.to_map(gradient)
        for name in names:
            maps[name].append(CAMS[name](activations, slopes))
    return {name: torch.stack(parts, dim=1) for name, parts in maps.items()}


def cam(question: Question) -> Tensor:
    """Return CAM, (B, T, h, w): the head's weights on the map, of networks with a global mean and a linear head.

    Raises:
        UserError: If the network is no such one.

    Source: Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016, equation 2.
    """
    network: Any = question.module.network
    encoder = network.encoder
    fits = encoder.pools_map and encoder.num_features == encoder.num_channels and not len(network.branches)
    if (
        not fits
        or network.attention is not None
        or network.hidden is not None
        or not question.module.criterion.gives_class_logits
    ):
        raise UserError(
            "method=cam needs a network that takes the mean of its map straight to one linear layer, without branches "
            "and attention, and a loss with class logits; method=hirescam gives the same where it exists, for any"
        )
    with torch.no_grad():
        features = encoder.feature_map(question.inputs[0])
    weights = network.head.weight[question.classes]  # (B, T, K)
    return torch.einsum("btk,bkhw->bthw", weights, features)


def occlusion(question: Question, cells: int = OCCLUSION_CELLS) -> Tensor:
    """Return how far the score falls when a cell is covered, (B, T, cells, cells); cells outside the view are 0.

    A covered cell has the mean colour of the field of view, since black would be a sign of its own.

    Source: Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, section 4.2.
    """
    images, baseline = question.inputs[0].detach(), question.baseline
    count, kinds, side = len(images), question.classes.shape[1], images.shape[-1]
    edges = torch.linspace(0, side, cells + 1).round().int().tolist()
    places = [(i, row, column) for i in range(count) for row in range(cells) for column in range(cells)]
    places = [p for p in places if question.inside[p[0], _span(edges, p[1]), _span(edges, p[2])].any()]
    falls = images.new_zeros(count, kinds, cells, cells)
    with torch.no_grad():
        whole = [question.score(images, number) for number in range(kinds)]
        for start in range(0, len(places), _AT_ONCE):
            part = places[start : start + _AT_ONCE]
            rows = torch.tensor([p[0] for p in part], device=images.device)
            covered = images[rows].clone()
            for one, (i, row, column) in zip(covered, part, strict=True):
                spot = (slice(None), _span(edges, row), _span(edges, column))
                one[spot] = baseline[i][spot]
            for number in range(kinds):
                fall = whole[number][rows] - question.score(covered, number, rows)
                for value, (i, row, column) in zip(fall, part, strict=True):
                    falls[i, number, row, column] = value
    return falls


def _span(edges: Sequence[int], number: int) -> slice:
    return slice(edges[number], edges[number + 1])


def integrated_gradients(question: Question) -> Tensor:
    """Return integrated gradients from a view in its mean colour, summed over the colours, (B, T, S, S).

    Their sum is the score minus that of the baseline, up to the error of the path's steps.

    Raises:
        MissingExtraError: If captum is not installed.

    Source: Sundararajan, Taly and Yan, "Axiomatic Attribution for Deep Networks", ICML 2017, as captum has it.
    """
    try:
        from captum.attr import IntegratedGradients
    except ModuleNotFoundError as error:
        raise missing_extra(error) or error from error
    images, baseline = question.inputs[0].detach(), question.baseline
    order = torch.arange(len(images), device=images.device)
    maps = []
    for number in range(question.classes.shape[1]):
        method = IntegratedGradients(lambda pixels, rows, number=number: question.score(pixels, number, rows))
        found = method.attribute(
            images, baseline, additional_forward_args=(order,), n_steps=_STEPS, internal_batch_size=_AT_ONCE
        )
        maps.append(found.sum(dim=1))
    return torch.stack(maps, dim=1).detach()


def attention_rollout(question: Question) -> Tensor:
    """Return how much of each patch reaches the class token, or the mean of all, through all layers, (B, T, h, w).

    The same for every class: it follows the attention and not the score.

    Raises:
        UserError: If the network has no attention between tokens.

    Source: Abnar and Zuidema, "Quantifying Attention Flow in Transformers", ACL 2020, equation 1.
    """
    encoder: Any = question.module.network.encoder
    blocks = getattr(encoder.net, "blocks", ()) if encoder.tokens else ()
    if not len(blocks) or not all(hasattr(getattr(block, "attn", None), "attn_drop") for block in blocks):
        raise UserError("method=rollout follows attention between tokens, which this network does not have")
    with torch.no_grad(), _attentions(blocks) as kept:
        question.module(*question.inputs)
    flow = None
    for attention in kept:
        step = 0.5 * attention.mean(dim=1) + 0.5 * torch.eye(attention.shape[-1], device=attention.device)
        flow = step if flow is None else step @ flow
    assert flow is not None
    height, width = encoder.grid_size
    reader = flow.mean(dim=1) if encoder.pools_map else flow[:, 0]
    patches = reader[:, -height * width :].unflatten(1, (height, width))
    return patches[:, None].repeat(1, question.classes.shape[1], 1, 1)


@contextmanager
def _attentions(blocks: Sequence[Any]) -> Iterator[list[Tensor]]:
    """Keep the attention of each block, (B, heads, N, N); the fused computation, which has none, is off meanwhile."""
    kept: list[Tensor] = []
    fused = [block.attn.fused_attn for block in blocks]
    with ExitStack() as stack:
        for block in blocks:
            block.attn.fused_attn = False
            handle = block.attn.attn_drop.register_forward_hook(lambda m, i, output: kept.append(output))
            stack.callback(handle.remove)
        try:
            yield kept
        finally:
            for block, before in zip(blocks, fused, strict=True):
                block.attn.fused_attn = before


def block_attention(question: Question) -> Tensor:
    """Return the spatial weights of the network's own attention block, (B, T, h, w), the same for every class.

    Raises:
        UserError: If the network has no block with spatial weights.
    """
    network: Any = question.module.network
    with torch.no_grad():
        question.module(*question.inputs)
    spatial = network.last_attention.get("spatial")
    if spatial is None:
        raise UserError(
            "method=attention shows the spatial weights of attention=cbam or mha, which this network does not have"
        )
    return spatial.float().repeat(1, question.classes.shape[1], 1, 1)


OTHERS: dict[str, Callable[[Question], Tensor]] = {
    "cam": cam,
    "occlusion": occlusion,
    "ig": integrated_gradients,
    "kernelshap": kernelshap,
    "lime": lime,
    "rollout": attention_rollout,
    "attention": block_attention,
}
METHODS = (*CAMS, *OTHERS)


def all_maps(question: Question, names: Sequence[str]) -> dict[str, Tensor]:
    """Return the maps of several methods, each (B, T, h, w), float32.

    Args:
        question: What to explain.
        names: Of `METHODS`.
    """
    own = [name for name in names if name in CAMS]
    found = class_activation_maps(question, own) if own else {}
    found |= {name: OTHERS[name](question) for name in names if name in OTHERS}
    return {name: found[name].detach().float() for name in names}
