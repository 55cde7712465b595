"""A tiny LLaVA for tests: float32, so that numbers can be compared closely."""

from __future__ import annotations

from dataclasses import replace

from retinai.llava.adapters import LlavaTuning
from retinai.llava.network import LlavaNetwork
from retinai.llava.settings import LlavaSettings

SETTINGS = LlavaSettings(
    name="llava_tiny",
    weights="tiny",
    input_size=168,
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
    dtype="float32",
)


def tiny_network(tuning: str = "lora", **changes: object) -> LlavaNetwork:
    """Return a tiny network in evaluation mode."""
    network = LlavaNetwork(replace(SETTINGS, **changes), LlavaTuning(name=tuning), gradient_checkpointing=False)  # type: ignore[arg-type]
    return network.eval()
