"""An encoder of retinai as the vision tower of a LLaVA: its feature map as tokens."""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn
from torch.nn import functional

from retinai.config.paths import conf_dir
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.encoders.checkpoint_encoder import encoder_of_checkpoint
from retinai.encoders.encoder import Encoder, build_encoder
from retinai.encoders.tuning import hash_tensors
from retinai.errors import ConfigError, UserError
from retinai.llava.settings import LlavaSettings


@dataclass
class TowerOutput:
    """What LLaVA takes from a vision tower.

    Args:
        hidden_states: One tensor of tokens, (B, N, C).
        pooler_output: Set by LLaVA: the projected tokens.
    """

    hidden_states: tuple[Tensor, ...]
    pooler_output: Any = None


class EncoderTower(nn.Module):
    """The feature map of an encoder, averaged down to N cells and normalised, as tokens (B, N, C).

    Each token is normalised to mean 0 and variance 1 over its channels, so that a fresh projector sees numbers of one
    size whichever encoder they come from. The encoder computes in float32 and never trains.

    Args:
        encoder: The encoder; it is frozen.
        tokens: N, a square number.

    Attributes:
        width: C, channels of the encoder's map.
        sha256: Of the encoder's weights.
    """

    def __init__(self, encoder: Encoder, tokens: int) -> None:
        super().__init__()
        self.encoder = encoder.requires_grad_(False).eval()
        self.side = isqrt(tokens)
        self.width = encoder.num_channels
        state = encoder.state_dict()
        self.sha256 = hash_tensors(state, state)

    def forward(self, pixel_values: Tensor, **_: Any) -> TowerOutput:
        """Return the tokens of normalised photographs (B, 3, S, S); LLaVA's further arguments have no effect."""
        with torch.no_grad(), torch.autocast(pixel_values.device.type, enabled=False):
            cells = self.encoder.feature_map(pixel_values.float())
            if cells.shape[-1] != self.side:
                cells = functional.adaptive_avg_pool2d(cells, self.side)
            tokens = cells.flatten(2).transpose(1, 2)
            return TowerOutput((functional.layer_norm(tokens, tokens.shape[-1:]),))


def build_tower(settings: LlavaSettings) -> EncoderTower:
    """Return the vision tower of a LLaVA that is put together of parts.

    Args:
        settings: `vision` names a backbone or a checkpoint; size, mean and std must be the encoder's.

    Raises:
        CheckpointError: If a checkpoint has no encoder, or is damaged.
        ConfigError: If size, mean, std or the number of tokens do not suit the encoder.
        UserError: If there is no such backbone or file.
    """
    vision = str(settings.vision)
    encoder = _of_file(vision) if _is_file(vision) else _of_backbone(vision, settings)
    _check_input(encoder, settings)
    return EncoderTower(encoder, settings.image_tokens or 1)


def check_view(tower: EncoderTower, settings: LlavaSettings, preprocessing: Preprocessing) -> None:
    """Refuse to show a trained encoder photographs that are cropped or coloured otherwise than in its training.

    Raises:
        ConfigError: With the words that mend it.
    """
    if not _is_file(str(settings.vision)):
        return
    own = tower.encoder.preprocessing
    problems = [
        f"data.preprocess.{key}={getattr(preprocessing, key)}, but the vision tower {settings.vision} was trained with "
        f"{getattr(own, key)}; set data.preprocess.{key}={getattr(own, key)}"
        for key in ("crop", "ben_graham", "clahe")
        if getattr(own, key) != getattr(preprocessing, key)
    ]
    if problems:
        raise ConfigError(problems)


def _is_file(vision: str) -> bool:
    return vision.endswith(".ckpt") or "/" in vision or Path(vision).expanduser().is_file()


def _of_file(vision: str) -> Encoder:
    path = Path(vision).expanduser()
    if not path.is_file():
        raise UserError(
            f"the vision tower backbone.vision={vision} is not there; a LLaVA's checkpoint does not hold its tower, so "
            "put the file back in its place, or give the name of a backbone"
        )
    return encoder_of_checkpoint(path)


def _of_backbone(vision: str, settings: LlavaSettings) -> Encoder:
    file = conf_dir() / "backbone" / f"{vision}.yaml"
    section = yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else {}
    if "architecture" not in section:
        raise ConfigError([f"backbone.vision={vision} is no encoder of conf/backbone and no checkpoint (*.ckpt)"])
    if section.get("weights", "none") == "none":
        raise ConfigError([f"backbone.vision={vision} has no weights of its own; train one and give its checkpoint"])
    return build_encoder({**section, "input_size": settings.input_size})


def _check_input(encoder: Encoder, settings: LlavaSettings) -> None:
    """Refuse photographs in another form than the encoder was trained with."""
    own, problems = encoder.preprocessing, []
    for key in ("mean", "std"):
        ours, theirs = list(getattr(settings, key)), list(getattr(own, key))
        if any(abs(a - b) > 1e-4 for a, b in zip(ours, theirs, strict=True)):
            problems.append(f"backbone.{key}={ours}, but the vision tower {settings.vision} was trained with {theirs}")
    if encoder.tokens and own.input_size != settings.input_size:
        problems.append(f"backbone.input_size={settings.input_size}, but the vision tower {settings.vision} sees "
                        f"{own.input_size} pixels; set backbone.input_size={own.input_size}")  # fmt: skip
    cells = _cells(encoder, settings.input_size) if not problems else 0
    if not problems and (settings.image_tokens or 1) > cells:
        problems.append(f"backbone.image_tokens={settings.image_tokens} is more than the {cells} cells of the feature "
                        f"map of {settings.vision} at {settings.input_size} pixels")  # fmt: skip
    if problems:
        raise ConfigError(problems)


def _cells(encoder: Encoder, size: int) -> int:
    with torch.no_grad():
        return encoder.eval().feature_map(torch.zeros(1, 3, size, size)).shape[2:].numel()
