"""A LLaVA of a few million random weights: the classes and the code path of the real one, without a download.

Its tokenizer is trained on the project's own prompts. Everything follows from a seed, so two builds
are the same network.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
import yaml

from retinai.config.build import build
from retinai.config.paths import conf_dir
from retinai.lesions.findings import LESION_NAMES, QUADRANTS, Findings, LesionFinding
from retinai.llava.text.prompts import PromptTemplates
from retinai.tasks.known import DME_RISK, DR_GRADE

SEED = 20
IMAGE_SIZE = 168
PATCH_SIZE = 14
_VOCABULARY = 1024
_CONTEXT = 1024
_WIDTH = 256
_SPECIAL = ("<unk>", "<s>", "</s>")
_BYTES = tuple(f"<0x{value:02X}>" for value in range(256))
# One turn of a conversation as LLaVA-1.5 writes it.
_CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ message['role'].upper() + ': ' }}"
    "{% for part in message['content'] if part['type'] == 'image' %}{{ '<image>\\n' }}{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] + ' ' }}{% endfor %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)


def write_tiny_llava(folder: str | Path) -> Path:
    """Write the tiny LLaVA in the format of `save_pretrained`: network, tokenizer, image processor, chat template.

    Args:
        folder: Where to.

    Returns:
        The folder.
    """
    from transformers import GenerationConfig, LlavaForConditionalGeneration

    folder = Path(folder)
    tokenizer = train_tokenizer(_corpus())
    _processor(tokenizer).save_pretrained(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = LlavaForConditionalGeneration(_config(tokenizer))
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    model.save_pretrained(folder)
    return folder


def train_tokenizer(texts: Iterable[str], vocabulary: int = _VOCABULARY) -> Any:
    """Return a LLaMA tokenizer (byte-pair encoding with byte fallback, single digits) trained on texts.

    Args:
        texts: What it should write in few tokens.
        vocabulary: Number of tokens, bytes and special tokens included.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import LlamaTokenizer

    raw = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(prepend_scheme="first"),
            pre_tokenizers.Split("\n", "isolated"),
            pre_tokenizers.Punctuation(),
            pre_tokenizers.Digits(individual_digits=True),
        ]
    )
    own = vocabulary - len(_SPECIAL) - len(_BYTES) - 2  # <pad> and <image> are added below
    raw.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=own, show_progress=False))
    learnt = json.loads(raw.to_str())["model"]
    vocab, merges = learnt["vocab"], [tuple(pair) for pair in learnt["merges"]]
    names = [*_SPECIAL, *_BYTES, *sorted(vocab, key=lambda token: vocab[token])]
    tokenizer = LlamaTokenizer(vocab={name: i for i, name in enumerate(dict.fromkeys(names))}, merges=merges)
    tokenizer.add_special_tokens({"pad_token": "<pad>", "extra_special_tokens": ["<image>"]})
    return tokenizer


def _corpus() -> Iterator[str]:
    """Yield questions and answers of the shipped prompts, over grades and findings."""
    for prompts in _shipped_prompts():
        for task in (DR_GRADE, DME_RISK):
            for number, findings in enumerate(_sketches()):
                key = str(number)
                answer = prompts.answer(task, number % task.num_classes, findings, key)
                yield f"USER: \n{prompts.question(key)} ASSISTANT: {answer}"


def _shipped_prompts() -> list[PromptTemplates]:
    files = sorted((conf_dir() / "prompt").glob("*.yaml"))
    return [build(yaml.safe_load(file.read_text(encoding="utf-8")), PromptTemplates) for file in files]


def _sketches() -> Iterator[Findings | None]:
    """Yield findings over all lesions, quadrants and many counts, for the words that they are told with."""
    for number in range(120):
        lesion = LESION_NAMES[number % len(LESION_NAMES)]
        laterality = ("", "left", "right")[number % 3]
        quadrants = QUADRANTS[laterality][number % 2 : 2 + number % 3]
        found = LesionFinding(lesion, number + 1, (number + 1) / 1000, quadrants)
        yield None if number % 5 == 0 else Findings(LESION_NAMES, (found,), laterality)


def _config(tokenizer: Any) -> Any:
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig

    vision = CLIPVisionConfig(
        hidden_size=128, intermediate_size=256, num_hidden_layers=4, num_attention_heads=4,
        image_size=IMAGE_SIZE, patch_size=PATCH_SIZE, projection_dim=128,
    )  # fmt: skip
    text = LlamaConfig(
        vocab_size=_VOCABULARY, hidden_size=_WIDTH, intermediate_size=512, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=_CONTEXT, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, tie_word_embeddings=False,
        # A frozen output layer with the usual 0.02 could not make any token likely: at this width its logits end at 5.
        initializer_range=_WIDTH**-0.5,
    )  # fmt: skip
    image_token = tokenizer.convert_tokens_to_ids("<image>")
    return LlavaConfig(vision_config=vision, text_config=text, image_token_index=image_token,
                       vision_feature_layer=-2, vision_feature_select_strategy="default",
                       image_seq_length=(IMAGE_SIZE // PATCH_SIZE) ** 2)  # fmt: skip


def _processor(tokenizer: Any) -> Any:
    from transformers import CLIPImageProcessor, LlavaProcessor

    images = CLIPImageProcessor(
        size={"shortest_edge": IMAGE_SIZE}, crop_size={"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    )
    return LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=PATCH_SIZE,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=_CHAT_TEMPLATE,
    )
