"""The checks that processor and network of a LLaVA fit each other: silent misfits cost months."""

from __future__ import annotations

from typing import Any

from retinai.errors import ConfigError
from retinai.llava.settings import LlavaSettings

# Name in the configuration of a tower that says whether it gives a class token before its patches; CLIP does.
CLASS_TOKEN = "class_token"


def check_processor(processor: Any, config: Any, settings: LlavaSettings) -> None:
    """Refuse a processor whose settings are not those of the network or of the backbone section.

    Args:
        processor: A `LlavaProcessor`.
        config: The `LlavaConfig` of the network.
        settings: The backbone section.

    Raises:
        ConfigError: With both numbers of each disagreement.
    """
    vision, images = config.vision_config, processor.image_processor
    crop = images.crop_size["height"]
    pairs = [
        ("patch size", processor.patch_size, vision.patch_size),
        ("image token id", processor.image_token_id, config.image_token_id),
        ("vision feature strategy", processor.vision_feature_select_strategy, config.vision_feature_select_strategy),
        ("image size", crop, vision.image_size),
        ("tokens per image", tokens_per_image(processor, crop), tokens_of_tower(config)),
    ]
    problems = [
        f"the processor of backbone={settings.name} has {what} {theirs}, the network has {ours}; "
        "use the processor files that belong to the network"
        for what, theirs, ours in pairs
        if theirs != ours
    ]
    if settings.input_size != vision.image_size:
        problems.append(
            f"backbone.input_size={settings.input_size}, but the vision tower of {settings.name} sees "
            f"{vision.image_size} pixels; leave it at {vision.image_size}"
        )
    for key in ("mean", "std"):
        ours, theirs = list(getattr(settings, key)), list(getattr(images, f"image_{key}"))
        if any(abs(a - b) > 1e-4 for a, b in zip(ours, theirs, strict=True)):
            problems.append(f"backbone.{key}={ours}, but the image processor of {settings.name} has {theirs}")
    if problems:
        raise ConfigError(problems)


def tokens_per_image(processor: Any, side: int) -> int:
    """Return how many image tokens the processor writes for a square photograph."""
    if not processor.patch_size:
        return 0
    without_class = 1 if processor.vision_feature_select_strategy == "default" else 0
    return (side // processor.patch_size) ** 2 + processor.num_additional_image_tokens - without_class


def tokens_of_tower(config: Any) -> int:
    """Return how many features the vision tower gives to the language model."""
    vision = config.vision_config
    patches = (vision.image_size // vision.patch_size) ** 2
    without = config.vision_feature_select_strategy == "default" or not getattr(vision, CLASS_TOKEN, True)
    return patches if without else patches + 1
