"""Parts of a small LLaVA for tests: a language model of SmolLM2's class with random weights, in a folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from retinai.llava.adapters import LlavaTuning
from retinai.llava.network import LlavaNetwork
from retinai.llava.settings import LlavaSettings

SETTINGS = LlavaSettings(
    name="llava_small", weights="parts", language="smollm2", vision="efficientnet_lite0", image_tokens=4, input_size=64,
    mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), dtype="float32",
)  # fmt: skip


def write_language(folder: Path, width: int = 32, seed: int = 0) -> Path:
    """Write a causal language model of two layers with a tokenizer of the project's prompts; return the folder."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from retinai.llava.tiny import _corpus, train_tokenizer

    tokenizer = train_tokenizer(_corpus())
    config = LlamaConfig(
        vocab_size=1024, hidden_size=width, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=512, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, tie_word_embeddings=True,
        initializer_range=width**-0.5,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def small_network(language: Path, tuning: str = "lora", **changes: Any) -> LlavaNetwork:
    """Return a small network in evaluation mode."""
    settings = replace(SETTINGS, **{"language": str(language), **changes})
    return LlavaNetwork(settings, LlavaTuning(name=tuning, rank=4), gradient_checkpointing=False).eval()
