"""Backbones: timm networks without classifier that know their input and where their blocks are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import timm
import torch
from torch import Tensor, nn

from retinai.config.build import TARGET, build
from retinai.encoders.pretrained import load_backbone_weights
from retinai.errors import ConfigError

_INTERPOLATIONS = ("bilinear", "bicubic", "area")
_POOLINGS = ("token", "avg")
# Containers whose children are the repeated units of a network, in order.
_CONTAINERS = ("blocks", "layers", "stages", "layer1", "layer2", "layer3", "layer4")


class Backbone(nn.Module):
    """A feature extractor that owns its preprocessing, with timm's architecture inside (`.net`).

    Args:
        name: Name of the configuration, such as `vit_small`.
        architecture: timm's model name, with its tag where the weights need one.
        weights: `none`, `pretrained` (hub), `package` (pip) or the path of a local file.
        input_size: Side of the square input in pixels; need not be the native one.
        mean: Mean per RGB channel on a scale of 0 to 1, as the weights expect it.
        std: Standard deviation per RGB channel on the same scale.
        interpolation: How photographs are resized.
        drop_rate: timm's dropout before the classifier; the head has its own, so usually 0.
        drop_path_rate: Stochastic depth, probability at the last block.
        pooling: For networks of tokens: `token` (class token) or `avg` (mean of the patch tokens);
            None keeps the architecture's own.

    Raises:
        ConfigError: If the architecture is unknown or the input size does not suit it.
        CheckpointError: If weights from a file do not fit.
        UserError: If weights from the hub cannot be had.
    """

    def __init__(
        self,
        name: str,
        architecture: str,
        weights: str = "none",
        input_size: int = 224,
        mean: Sequence[float] = (0.485, 0.456, 0.406),
        std: Sequence[float] = (0.229, 0.224, 0.225),
        interpolation: str = "bicubic",
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        pooling: str | None = None,
    ) -> None:
        super().__init__()
        if interpolation not in _INTERPOLATIONS:
            raise ConfigError(
                [f"backbone.interpolation={interpolation} is unknown; valid: {', '.join(_INTERPOLATIONS)}"]
            )
        self.name, self.architecture, self.weights = name, architecture, str(weights)
        self.input_size, self.interpolation = int(input_size), interpolation
        self.mean, self.std = tuple(map(float, mean)), tuple(map(float, std))
        rates = {"drop_rate": drop_rate, "drop_path_rate": drop_path_rate}
        self.net = _create(name, architecture, self.input_size, pooling, rates)
        self.num_features = int(getattr(self.net, "head_hidden_size", None) or self.net.num_features)  # type: ignore[arg-type]
        self.num_prefix_tokens = int(getattr(self.net, "num_prefix_tokens", 0))
        # timm marks networks of tokens by their prefix tokens and Swin by its channels-last features.
        self.tokens = hasattr(self.net, "num_prefix_tokens")
        self.channels_last_features = str(getattr(self.net, "output_fmt", "NCHW")).endswith("NHWC")
        self.convolutional = not self.tokens and not self.channels_last_features
        self.load_report = load_backbone_weights(self.net, name, self.weights)

    def forward(self, images: Tensor) -> Tensor:
        """Return the last features.

        Args:
            images: Normalised photographs, shape (B, 3, S, S).

        Returns:
            A map (B, C, h, w) for convolutional networks, (B, h, w, C) for Swin, or tokens
            (B, prefix + h * w, C) for vision transformers.
        """
        return self.net.forward_features(images)  # type: ignore[operator]

    def pool(self, features: Tensor) -> Tensor:
        """Return one vector per photograph, shape (B, num_features), from what `forward` gave."""
        return self.net.forward_head(features, pre_logits=True)  # type: ignore[operator]

    @property
    def grid_size(self) -> tuple[int, int]:
        """Height and width of the last feature map, in cells."""
        if self.tokens:
            embedding: Any = self.net.patch_embed
            return int(embedding.grid_size[0]), int(embedding.grid_size[1])
        reduction = int(self.net.feature_info[-1]["reduction"])  # type: ignore[index]
        side = -(-self.input_size // reduction)
        return side, side

    @property
    def pools_class_token(self) -> bool:
        """Whether `pool` reads the class token, so that changes of the patch tokens have no effect."""
        return self.tokens and getattr(self.net, "global_pool", "") == "token"

    def to_map(self, features: Tensor) -> Tensor:
        """Return features as a map (B, C, h, w), without prefix tokens."""
        if self.tokens:
            patches = features[:, self.num_prefix_tokens :]
            return patches.transpose(1, 2).unflatten(2, self.grid_size)
        return features.permute(0, 3, 1, 2) if self.channels_last_features else features

    def from_map(self, changed: Tensor, features: Tensor) -> Tensor:
        """Return `features` with a changed map (B, C, h, w) put back in their own layout."""
        if self.tokens:
            return torch.cat([features[:, : self.num_prefix_tokens], changed.flatten(2).transpose(1, 2)], dim=1)
        return changed.permute(0, 2, 3, 1) if self.channels_last_features else changed

    def blocks(self) -> list[tuple[str, nn.Module]]:
        """Return the repeated blocks in forward order as (name inside `.net`, module).

        What lies before the first (stem, position embeddings) and after the last (final norm or
        convolution) is not among them; `layer_ids` places every parameter.
        """
        found: list[tuple[str, nn.Module]] = []
        for name, child in self.net.named_children():
            if name in _CONTAINERS:
                found += _leaves(name, child)
        return found

    def layer_ids(self) -> dict[str, int]:
        """Return the depth of each parameter and buffer of `.net`: 0 stem, 1..N blocks, N + 1 tail.

        What lies between two blocks, such as a down-sampling step, belongs to the later one.
        """
        blocks = self.blocks()
        ids: dict[str, int] = {}
        pending: list[str] = []
        current = 0
        for key in self.net.state_dict():
            own = next((i for i, (name, _) in enumerate(blocks, 1) if key.startswith(f"{name}.")), None)
            if own is not None:
                ids.update(dict.fromkeys(pending, own if current else 0))
                ids[key], current, pending = own, own, []
            else:
                pending.append(key)
        ids.update(dict.fromkeys(pending, len(blocks) + 1))
        return ids


def _leaves(name: str, module: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the blocks inside a container; stages nest them one or two levels deep."""
    found: list[tuple[str, nn.Module]] = []
    for child_name, child in module.named_children():
        path = f"{name}.{child_name}"
        inner = getattr(child, "blocks", None)
        if isinstance(inner, nn.Sequential | nn.ModuleList):
            found += [(f"{path}.blocks.{k}", block) for k, block in inner.named_children()]
        elif isinstance(child, nn.Sequential):
            found += [(f"{path}.{k}", block) for k, block in child.named_children()]
        else:
            found.append((path, child))
    return found


def _create(name: str, architecture: str, input_size: int, pooling: str | None, rates: dict[str, float]) -> nn.Module:
    """Create the timm network without classifier for an input size."""
    base = architecture.split(".")[0]
    if not timm.is_model(base):
        near = ", ".join(timm.list_models(f"*{base.split('_')[0]}*")[:5])
        raise ConfigError([f"backbone.architecture={architecture} is no timm model; near: {near or 'none'}"])
    arguments: dict[str, Any] = {"num_classes": 0, **rates}
    transformer = base.startswith(("vit_", "deit", "swin_", "eva", "beit"))
    if transformer:
        arguments["img_size"] = input_size
    if pooling is not None:
        if pooling not in _POOLINGS or not transformer or base.startswith("swin_"):
            raise ConfigError(
                [f"backbone.pooling={pooling} does not suit {name}; token and avg exist for vision transformers"]
            )
        # fc_norm=False keeps the final norm before the pooling, where the weights have it.
        arguments |= {"global_pool": pooling, "fc_norm": False}
    patch = _patch_size(base)
    if transformer and input_size % patch:
        nearest = max(patch, round(input_size / patch) * patch)
        raise ConfigError(
            [f"backbone.input_size={input_size} is no multiple of {name}'s patches of {patch} pixels; try {nearest}"]
        )
    return timm.create_model(architecture, pretrained=False, **arguments)


def _patch_size(base: str) -> int:
    """Return the side of a patch in pixels that a timm name such as `vit_small_patch14_dinov2` tells."""
    _, found, rest = base.partition("patch")
    digits = "".join(c for c in rest[:2] if c.isdigit()) if found else ""
    return int(digits) if digits else 1


def build_backbone(spec: Mapping[str, Any]) -> Backbone:
    """Build a backbone from its configuration section.

    Args:
        spec: The `backbone` section: keyword arguments of `Backbone`.

    Raises:
        ConfigError: If a key is unknown; names it with the valid ones.
    """
    return build({TARGET: "retinai.encoders.backbone.Backbone", **spec}, Backbone)
