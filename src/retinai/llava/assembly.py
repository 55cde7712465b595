"""A LLaVA put together of a language model and an encoder: `LlavaForConditionalGeneration` around both."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import nn

from retinai.llava.language import Language, read_language
from retinai.llava.processor import CLASS_TOKEN
from retinai.llava.settings import LlavaSettings
from retinai.llava.tower import EncoderTower, build_tower

# How SmolLM2 and other models that were taught in ChatML write a turn; without their own system message.
_CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% for part in message['content'] if part['type'] == 'image' %}{{ IMAGE + '\\n' }}{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}"
    "{{ '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
# How LLaVA-1.5 writes a turn, for language models without roles of their own.
_PLAIN = (
    "{% for message in messages %}{{ message['role'].upper() + ': ' }}"
    "{% for part in message['content'] if part['type'] == 'image' %}{{ IMAGE + '\\n' }}{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] + ' ' }}{% endfor %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)


def assemble(settings: LlavaSettings, *, four_bits: bool) -> tuple[Any, Any, str]:
    """Put a LLaVA together: published language model, encoder, and a fresh projector of two layers between them.

    Args:
        settings: With `language`, `vision` and `image_tokens`.
        four_bits: Keep the language model's layers in 4 bits (NF4, double quantisation).

    Returns:
        `LlavaForConditionalGeneration`, `LlavaProcessor`, and the fingerprint of language model and tower.

    Raises:
        UserError: If a part cannot be had.
        ConfigError: If a part does not suit the settings.
    """
    tower = build_tower(settings)
    language = read_language(settings)
    processor = _processor(language, settings)
    model = _network(language, tower, settings)
    if four_bits:
        _quantise(model, getattr(torch, settings.dtype))
    parts = f"{language.fingerprint}|{tower.sha256}|{settings.image_tokens}"
    return model, processor, hashlib.sha256(parts.encode()).hexdigest()


def _network(language: Language, tower: EncoderTower, settings: LlavaSettings) -> Any:
    from transformers import CLIPVisionConfig, GenerationConfig, LlavaConfig, LlavaForConditionalGeneration
    from transformers.models.llava.modeling_llava import LlavaMultiModalProjector

    # The configuration has to name a tower that transformers knows; only its width and its sizes are read.
    sizes: dict[str, Any] = {"image_size": settings.input_size, "patch_size": _patch(settings)}
    sizes |= {"num_hidden_layers": 1, "num_attention_heads": 1, CLASS_TOKEN: False}
    vision = CLIPVisionConfig(hidden_size=tower.width, **sizes)
    config = LlavaConfig(
        vision_config=vision,
        text_config=language.model.config,
        image_token_index=language.tokenizer.convert_tokens_to_ids(language.image_token),
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        image_seq_length=settings.image_tokens or 1,
        tie_word_embeddings=bool(language.model.config.tie_word_embeddings),
    )
    config._attn_implementation = "sdpa"
    with torch.device("meta"):
        model: Any = LlavaForConditionalGeneration(config)
    projector = LlavaMultiModalProjector(config).to(getattr(torch, settings.dtype))
    model.model.vision_tower, model.model.multi_modal_projector = tower, projector
    model.model.language_model, model.lm_head = language.model.model, language.model.lm_head
    token = language.tokenizer
    model.generation_config = GenerationConfig(
        bos_token_id=token.bos_token_id, eos_token_id=token.eos_token_id, pad_token_id=token.pad_token_id
    )
    return model.to("cuda") if torch.cuda.is_available() else model


def _patch(settings: LlavaSettings) -> int:
    """Return the side in pixels of the part of a photograph that one token stands for."""
    return settings.input_size // round((settings.image_tokens or 1) ** 0.5)


def _processor(language: Language, settings: LlavaSettings) -> Any:
    from transformers import CLIPImageProcessor, LlavaProcessor

    side, tokenizer = settings.input_size, language.tokenizer
    images = CLIPImageProcessor(
        size={"shortest_edge": side},
        crop_size={"height": side, "width": side},
        image_mean=list(settings.mean),
        image_std=list(settings.std),
    )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    template = _CHATML if "<|im_start|>" in tokenizer.get_vocab() else _PLAIN
    return LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=_patch(settings),
        vision_feature_select_strategy="full",
        image_token=language.image_token,
        chat_template=template.replace("IMAGE", repr(language.image_token)),
    )


def _quantise(model: Any, dtype: torch.dtype) -> None:
    """Turn the linear layers of the language model into NF4 with double quantisation, see `loading.quantisation`."""
    import bitsandbytes

    parents = [(m, key, layer) for m in model.model.language_model.modules() for key, layer in m.named_children()]
    for parent, key, layer in parents:
        if type(layer) is not nn.Linear:
            continue
        kept = bitsandbytes.nn.Linear4bit(
            layer.in_features,
            layer.out_features,
            bias=layer.bias is not None,
            compute_dtype=dtype,
            compress_statistics=True,
            quant_type="nf4",
            device="meta",
        )
        kept.weight = bitsandbytes.nn.Params4bit(
            layer.weight.detach(), requires_grad=False, compress_statistics=True, quant_type="nf4"
        )
        kept.bias = layer.bias
        setattr(parent, key, kept.to(layer.weight.device))
    model.is_loaded_in_4bit = True  # PEFT asks this before it looks for such layers
