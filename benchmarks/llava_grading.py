"""Grading by scoring against free generation: the same network, the same photographs, one at a time."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.common import Result, ratio_of, side_by_side
from benchmarks.llava_setup import Setup
from benchmarks.watches import wait
from retinai.llava import likelihood

TOKENS = 64  # of free text, no fewer and no more


def compare(setup: Setup, photographs: int, rounds: int) -> Result:
    """Time one grade by the likelihoods of the five sentences against a text of 64 tokens.

    Args:
        setup: The network and its photographs.
        photographs: How many of them.
        rounds: How often each way goes through them.

    Returns:
        Seconds per photograph, one value per round.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    module = setup.module.to(device).eval()  # Lightning takes a network off the GPU after training
    images = [batch["image"].to(device) for batch, _ in zip(setup.loader, range(photographs), strict=False)]
    base = module.network.model.get_base_model()
    kept = base.generation_config.min_new_tokens
    base.generation_config.min_new_tokens = TOKENS  # the end of an answer is not to be chosen
    try:
        _check(module, images[0])
        ways: dict[str, Any] = {"scoring": module, "generation": partial(_write, module)}

        def grade(way: str) -> None:
            with torch.inference_mode():
                for image in images:
                    ways[way](image)
            wait()

        times = side_by_side({way: partial(grade, way) for way in ways}, rounds, items=len(images))
    finally:
        base.generation_config.min_new_tokens = kept
    shared, own = module.network.conversations.continuations(module.prompts.question(), module.asking.candidates)
    details = {
        "shape": setup.shape, "photographs": len(images), "batch": 1, "tokens_written": TOKENS,
        "tokens_shared": len(shared), "tokens_scored": [len(tokens) for tokens in own],
        "ratio_of_processor_seconds": ratio_of(times.processor, "generation", "scoring"),
    }  # fmt: skip
    ratio = ratio_of(times.seconds, "generation", "scoring")
    return Result(*row(setup.shape), ratio, times.seconds, details)


def row(shape: str) -> tuple[str, str]:
    """Return name and goal of this comparison."""
    return f"{shape}: free text of {TOKENS} tokens / grade by scoring", ">= 8"


def _write(module: Any, image: Tensor) -> Tensor:
    """Return the tokens of a free answer, as `grading=generate` asks for it."""
    network = module.network
    prompt = network.conversations.prompt(module.prompts.question())
    with network.computing():
        return likelihood.generate(network.model, [prompt], image, pad=network.pad, longest=TOKENS)


def _check(module: Any, image: Tensor) -> None:
    """Refuse to compare what is not what it is said to be."""
    length = _write(module, image).shape[1]
    if length != TOKENS:
        raise RuntimeError(f"free generation wrote {length} tokens, not {TOKENS}")
    with torch.inference_mode():
        scores = module(image)
    if scores.shape != (1, module.task.num_classes) or not bool(scores.isfinite().all()):
        raise RuntimeError(f"scoring gave {scores.tolist()}, not one finite number per grade")
