"""Likelihoods: of whole answers for training, and of the candidate grades for grading."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from retinai.llava.encoding import IGNORED, Encoded


def llava_of(model: Any) -> Any:
    """Return the `LlavaModel` (tower, projector, language model without output layer) of a LLaVA, tuned or not."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return base.model


def vision_tokens(model: Any, images: Tensor) -> Tensor:
    """Return what the vision tower gives to the projector, (B, N, C), from normalised photographs (B, 3, S, S)."""
    inner = llava_of(model)
    layers, strategy = inner.config.vision_feature_layer, inner.config.vision_feature_select_strategy
    states = inner.vision_tower(images, output_hidden_states=True, return_dict=True).hidden_states
    chosen = [states[layer] for layer in ([layers] if isinstance(layers, int) else layers)]
    return torch.cat([state[:, 1:] if strategy == "default" else state for state in chosen], dim=-1)


def vision_inputs(model: Any, images: Tensor) -> dict[str, Any]:
    """Return photographs, or tokens of the vision tower that were computed before, as LLaVA takes them."""
    if images.ndim == 4:
        return {"pixel_values": images}
    from transformers.modeling_outputs import BaseModelOutputWithPooling

    # As LLaVA's own `get_image_features` gives them: a tensor per photograph.
    projected: Any = list(llava_of(model).multi_modal_projector(images))
    return {"mm_encoder_outputs": {"image": BaseModelOutputWithPooling(pooler_output=projected)}}


def answer_loss(model: Any, encoded: Encoded, images: Tensor) -> Tensor:
    """Return the negative log-likelihood of each answer, weighted mean over its tokens, shape (B,), float32.

    A mean per answer, so that the loss of a batch is the mean of its answers alone, however they are
    batched or accumulated.

    Args:
        model: A LLaVA.
        encoded: The conversations, on the device of the model.
        images: Normalised photographs (B, 3, S, S), or the tokens of the vision tower (B, N, C).
    """
    # Only the places whose next token is learnt need logits: a vocabulary of 32,000 is wide.
    learnt = encoded.labels[:, 1:] != IGNORED
    first = int(learnt.any(dim=0).nonzero()[0, 0])
    keep = torch.arange(first, encoded.input_ids.shape[1] - 1, device=encoded.input_ids.device)
    output = model(
        input_ids=encoded.input_ids,
        attention_mask=encoded.attention_mask,
        **vision_inputs(model, images),
        logits_to_keep=keep,
        use_cache=False,
    )
    labels = encoded.labels[:, first + 1 :]
    losses = functional.cross_entropy(
        output.logits.float().transpose(1, 2), labels, ignore_index=IGNORED, reduction="none"
    )
    weights = encoded.weights[:, first + 1 :] * (labels != IGNORED)
    return (losses * weights).sum(dim=1) / weights.sum(dim=1)


def score_candidates(
    model: Any, shared: Sequence[int], candidates: Sequence[Sequence[int]], images: Tensor, pad: int
) -> Tensor:
    """Return the log-likelihood of each candidate answer, shape (B, C), float32.

    Image and prompt are read once; the candidates go on from their cached keys and values in one
    more pass.

    Args:
        model: A LLaVA.
        shared: Tokens that all candidates begin with: image, prompt, common words.
        candidates: C lists of further tokens, each of at least one.
        images: Normalised photographs (B, 3, S, S), or the tokens of the vision tower (B, N, C).
        pad: A token to fill short candidates with; it is not scored.
    """
    batch, count = len(images), len(candidates)
    device = images.device
    prefix = torch.tensor([list(shared)] * batch, device=device)
    read = model(input_ids=prefix, **vision_inputs(model, images), use_cache=True, logits_to_keep=1)
    firsts = torch.tensor([tokens[0] for tokens in candidates], device=device)
    scores = read.logits[:, -1].float().log_softmax(dim=-1)[:, firsts]
    longest = max(map(len, candidates))
    if longest == 1:
        return scores
    tokens = torch.full((count, longest), pad, device=device)
    for row, candidate in enumerate(candidates):
        tokens[row, : len(candidate)] = torch.tensor(list(candidate), device=device)
    cache = copy.copy(read.past_key_values)
    cache.batch_repeat_interleave(count)
    inputs = tokens[:, :-1].repeat(batch, 1)
    further = model(input_ids=inputs, past_key_values=cache, use_cache=True, logits_to_keep=0).logits
    logs = further.float().log_softmax(dim=-1).view(batch, count, longest - 1, -1)
    nexts = tokens[None, :, 1:, None].expand(batch, -1, -1, -1)
    lengths = torch.tensor([len(candidate) for candidate in candidates], device=device)
    counted = torch.arange(1, longest, device=device)[None] < lengths[:, None]
    return scores + (logs.gather(3, nexts).squeeze(3) * counted[None]).sum(dim=2)


@torch.no_grad()
def generate(model: Any, prompts: Sequence[Sequence[int]], images: Tensor, *, pad: int, longest: int) -> Tensor:
    """Return what the network writes after each prompt, always the likeliest token, at most `longest`.

    Args:
        model: A LLaVA.
        prompts: B lists of tokens, image tokens included.
        images: Normalised photographs (B, 3, S, S), or the tokens of the vision tower (B, N, C).
        pad: The padding token.
        longest: Most tokens to write.

    Returns:
        Token ids, (B, up to `longest`), padded after the end.
    """
    width = max(map(len, prompts))
    # The prompts end together, so padding goes to the left.
    ids = torch.tensor([[pad] * (width - len(p)) + list(p) for p in prompts], device=images.device)
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=images.device)
    written = model.generate(
        input_ids=ids,
        attention_mask=mask,
        **vision_inputs(model, images),
        max_new_tokens=longest,
        do_sample=False,
        use_cache=True,
        pad_token_id=pad,
    )
    return written[:, width:]
