"""Likelihoods: of whole answers for training, and of the candidate grades for grading."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from retinai.llava.encoding import IGNORED, Encoded


def answer_loss(model: Any, encoded: Encoded, images: Tensor) -> Tensor:
    """Return the negative log-likelihood of each answer, mean over its tokens, shape (B,), float32.

    A mean per answer, so that the loss of a batch is the mean of its answers alone, however they are
    batched or accumulated.

    Args:
        model: A LLaVA.
        encoded: The conversations, on the device of the model.
        images: Normalised photographs, (B, 3, S, S).
    """
    # Only the places whose next token is learnt need logits: a vocabulary of 32,000 is wide.
    learnt = encoded.labels[:, 1:] != IGNORED
    first = int(learnt.any(dim=0).nonzero()[0, 0])
    keep = torch.arange(first, encoded.input_ids.shape[1] - 1, device=encoded.input_ids.device)
    output = model(
        input_ids=encoded.input_ids,
        attention_mask=encoded.attention_mask,
        pixel_values=images,
        logits_to_keep=keep,
        use_cache=False,
    )
    labels = encoded.labels[:, first + 1 :]
    losses = functional.cross_entropy(
        output.logits.float().transpose(1, 2), labels, ignore_index=IGNORED, reduction="none"
    )
    return losses.sum(dim=1) / (labels != IGNORED).sum(dim=1)


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
        images: Normalised photographs, (B, 3, S, S).
        pad: A token to fill short candidates with; it is not scored.
    """
    batch, count = len(images), len(candidates)
    device = images.device
    prefix = torch.tensor([list(shared)] * batch, device=device)
    read = model(input_ids=prefix, pixel_values=images, use_cache=True, logits_to_keep=1)
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
        images: Normalised photographs, (B, 3, S, S).
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
        pixel_values=images,
        max_new_tokens=longest,
        do_sample=False,
        use_cache=True,
        pad_token_id=pad,
    )
    return written[:, width:]
