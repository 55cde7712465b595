"""Encoders of timm: its networks without classifier, through the helpers that it has for all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import timm
import torch
from timm.layers.pool1d import global_pool_nlc
from timm.models import get_arch_pretrained_cfgs
from timm.models._manipulate import MATCH_PREV_GROUP, group_with_matcher
from torch import Tensor, nn

from retinai.data.photographs.preprocessing import Preprocessing
from retinai.encoders.encoder import Encoder
from retinai.encoders.pretrained import load_encoder_weights
from retinai.errors import ConfigError, UserError

_INTERPOLATIONS = ("bilinear", "bicubic", "area")
_POOLINGS = ("token", "avg")


class TimmEncoder(Encoder):
    """A network of timm (`.net`) as an encoder.

    Size, interpolation, mean and std stand in the configuration and not only in timm (`resolve_model_data_config`),
    because photographs are prepared and cached before, and on machines without, timm; the tests hold them equal.

    Args:
        name: Name of the configuration, such as `vit_small`.
        architecture: timm's model name, with its tag where the weights need one.
        weights: `none`, `pretrained` (hub), `package` (pip), or the path of a local file: weights from elsewhere, or
            a checkpoint of retinai.
        input_size: Side of the square input in pixels; need not be the native one.
        mean: Mean per RGB channel on a scale of 0 to 1, as the weights expect it.
        std: Standard deviation per RGB channel on the same scale.
        interpolation: How photographs are resized.
        drop_rate: timm's dropout before the classifier; the head has its own, so usually 0.
        drop_path_rate: Stochastic depth, probability at the last block.
        pooling: For networks of tokens: `token` (class token) or `avg` (mean of the patch tokens);
            None keeps the architecture's own.
        arguments: More arguments of `timm.create_model`, such as `depth` or `bn_eps`.

    Raises:
        ConfigError: If the architecture is unknown, or the input size or an argument does not suit it.
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
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if interpolation not in _INTERPOLATIONS:
            raise ConfigError(
                [f"backbone.interpolation={interpolation} is unknown; valid: {', '.join(_INTERPOLATIONS)}"]
            )
        self.name, self.architecture, self.weights = name, architecture, str(weights)
        values = {"input_size": int(input_size), "mean": map(float, mean), "std": map(float, std)}
        self.preprocessing = Preprocessing.from_dict(values | {"interpolation": interpolation})
        rates = {"drop_rate": drop_rate, "drop_path_rate": drop_path_rate}
        more = _more_arguments(arguments)
        net: Any = _create(name, architecture, int(input_size), pooling, rates, more)
        self.net: Any = net
        self.num_features = int(getattr(net, "head_hidden_size", None) or net.num_features)
        self.num_channels = int(net.num_features)
        # timm marks networks of tokens by their prefix tokens and Swin by its channels-last features.
        self.tokens = hasattr(self.net, "num_prefix_tokens")
        self._channels_last = str(getattr(self.net, "output_fmt", "NCHW")).endswith("NHWC")
        self.pools_map = not (self.tokens and getattr(self.net, "global_pool", "") == "token")
        if not self.tokens and not self._channels_last:
            self.memory_format = torch.channels_last
        self.load_report = load_encoder_weights(self.net, name, self.weights)

    def embed(self, images: Tensor, attention: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Return one vector per photograph, shape (B, num_features); see `Encoder.embed`."""
        features = self.net.forward_features(images)
        if attention is not None:
            features = self._from_map(attention(self.to_map(features)), features)
        return self.net.forward_head(features, pre_logits=True)

    def feature_map(self, images: Tensor) -> Tensor:
        """Return the last map before pooling, shape (B, num_channels, h, w), without prefix tokens.

        timm's `forward_intermediates` gives the same for most networks, but not for EfficientNets, whose maps it
        takes before the last convolution, nor can a changed map go on to the pooling from there.
        """
        return self.to_map(self.net.forward_features(images))

    @property
    def pyramid_channels(self) -> tuple[int, ...]:
        """Channels of the maps of all stages; empty for networks of one cell size, or that take one input size."""
        fixed = bool(self.net.pretrained_cfg.get("fixed_input_size"))
        if self.tokens or fixed or not hasattr(self.net, "forward_intermediates"):
            return ()
        return tuple(int(stage["num_chs"]) for stage in self.net.feature_info)

    def pyramid(self, images: Tensor) -> list[Tensor]:
        """Return the maps of all stages by timm's `forward_intermediates`; see `Encoder.pyramid`."""
        if not self.pyramid_channels:
            return super().pyramid(images)
        return self.net.forward_intermediates(images, intermediates_only=True)

    def poolings(self) -> tuple[str, ...]:
        """Return `own` and `avg`, of networks of tokens also `all`, and `token` where there is a class token."""
        if not self.tokens:
            return super().poolings()
        return ("own", "avg", "all", *(["token"] if getattr(self.net, "cls_token", None) is not None else []))

    def pool(self, images: Tensor, pooling: str) -> Tensor:
        """Return one vector per photograph, see `Encoder.pool`; of tokens after the network's final norm."""
        if not self.tokens or pooling == "own":
            return super().pool(images, pooling)
        features = self.net.forward_features(images)
        kind = "token" if pooling == "token" else "avg"
        pooled = global_pool_nlc(features, kind, self.net.num_prefix_tokens, reduce_include_prefix=pooling == "all")
        norm = getattr(self.net, "fc_norm", None)  # networks that pool before their final norm
        return pooled if norm is None else norm(pooled)

    def blocks(self) -> list[list[str]]:
        """Return the keys of `net.state_dict()` by depth, as timm groups them (`group_matcher`).

        timm counts what follows the last block with that block; here it is a group of its own, as the sources of
        layer decay have it (BEiT, MAE: the final norm goes with the head). A network without a `group_matcher` is
        one block.
        """
        keys = list(self.net.state_dict())
        if not hasattr(self.net, "group_matcher"):
            return [[], keys, []]
        matcher = {name: _own_groups(spec) for name, spec in self.net.group_matcher(coarse=False).items()}
        # What no expression matches comes last; the empty name is there so that this group always is.
        groups = list(group_with_matcher(((key, key) for key in ["", *keys]), matcher).values())
        return [[key for key in group if key] for group in groups]

    def undecayed(self) -> set[str]:
        """Return what timm leaves without weight decay: position embeddings, tokens, tables of relative positions."""
        named = self.net.no_weight_decay() if hasattr(self.net, "no_weight_decay") else ()
        return {key.rpartition(".")[2] for key in named}

    @property
    def grid_size(self) -> tuple[int, int]:
        """Height and width of the feature map, in cells."""
        if self.tokens:
            height, width = self.net.patch_embed.grid_size
            return int(height), int(width)
        side = -(-self.preprocessing.input_size // int(self.net.feature_info[-1]["reduction"]))
        return side, side

    def to_map(self, features: Tensor) -> Tensor:
        """Return features of a layer as a map (B, K, h, w), without prefix tokens; see `Encoder.to_map`."""
        if features.ndim == 3:
            height, width = self.grid_size
            prefix = features.shape[1] - height * width
            if prefix not in (0, getattr(self.net, "num_prefix_tokens", 0)):
                raise UserError(
                    f"the layer's output has {features.shape[1]} tokens, and {self.name}'s map has {height} x {width} "
                    "cells: it cannot be laid out as a map"
                )
            return features[:, prefix:].transpose(1, 2).unflatten(2, (height, width))
        return super().to_map(features.permute(0, 3, 1, 2) if self._channels_last and features.ndim == 4 else features)

    def explained_layer(self) -> nn.Module:
        """Return the layer that is explained unless another is asked for; see `Encoder.explained_layer`.

        Of networks of tokens and of Swin it is the input of the last block's attention: where a class token is read,
        the last output has no gradient at the patches.
        """
        if self.tokens:
            return self.net.blocks[-1].norm1
        return self.net.layers[-1].blocks[-1].norm1 if self._channels_last else super().explained_layer()

    def _from_map(self, changed: Tensor, features: Tensor) -> Tensor:
        """Return timm's features with a changed map (B, C, h, w) put back in their own layout."""
        if self.tokens:
            return torch.cat([features[:, : self.net.num_prefix_tokens], changed.flatten(2).transpose(1, 2)], dim=1)
        return changed.permute(0, 2, 3, 1) if self._channels_last else changed


def _own_groups(spec: Any) -> Any:
    """Return a specification of a `group_matcher` without what timm adds to the group before it."""
    if not isinstance(spec, list | tuple):
        return spec
    return [(expression, suffix) for expression, suffix in spec if suffix != MATCH_PREV_GROUP]


# Arguments of timm that other keys of the section decide, or that would bring weights past the report of loading.
_DECIDED = {
    "num_classes": "the head is the model's",
    "img_size": "use backbone.input_size",
    "global_pool": "use backbone.pooling",
    "drop_rate": "use backbone.drop_rate",
    "drop_path_rate": "use backbone.drop_path_rate",
    "pretrained": "use backbone.weights",
    "checkpoint_path": "use backbone.weights",
    "pretrained_cfg": "use backbone.architecture and backbone.weights",
    "pretrained_cfg_overlay": "use backbone.architecture and backbone.weights",
    "cache_dir": "use the environment variable HF_HUB_CACHE",
}


def _more_arguments(arguments: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the arguments that go to timm as they are.

    Raises:
        ConfigError: If one of them is decided elsewhere.
    """
    more = dict(arguments or {})
    problems = [f"backbone.arguments.{key} is not for here: {_DECIDED[key]}" for key in more if key in _DECIDED]
    if problems:
        raise ConfigError(problems)
    return more


def _create(
    name: str, architecture: str, input_size: int, pooling: str | None, rates: dict[str, Any], more: dict[str, Any]
) -> nn.Module:
    """Create the timm network without classifier for an input size."""
    base = architecture.split(".")[0]
    if not timm.is_model(base):
        near = ", ".join(timm.list_models(f"*{base.split('_')[0]}*")[:5])
        raise ConfigError([f"backbone.architecture={architecture} is no timm model; near: {near or 'none'}"])
    tags = list(get_arch_pretrained_cfgs(base))
    if architecture not in (base, *tags):
        known = ", ".join(tags) or "none, so give the name alone"
        raise ConfigError([f"backbone.architecture={architecture} has a tag that timm does not know (known: {known})"])
    arguments: dict[str, Any] = {"num_classes": 0, **rates, **more}
    # timm's word for networks that are built for one size, which they take as `img_size`.
    fixed = bool(getattr(timm.get_pretrained_cfg(base), "fixed_input_size", False))
    if fixed:
        arguments["img_size"] = input_size
    unsuitable = f"backbone.pooling={pooling} does not suit {name}; token and avg exist for vision transformers"
    if pooling is not None:
        if pooling not in _POOLINGS:
            raise ConfigError([unsuitable])
        # fc_norm=False keeps the final norm before the pooling, where the weights have it; only networks with a
        # class token have this argument.
        arguments |= {"global_pool": pooling, "fc_norm": False}
    try:
        net = timm.create_model(architecture, pretrained=False, **arguments)
    except Exception as error:  # whatever a network makes of arguments that it does not have
        if pooling is not None and "fc_norm" in str(error):
            raise ConfigError([unsuitable]) from None
        if not more:
            raise
        told = " ".join(str(error).split())[:200] or type(error).__name__
        shown = ", ".join(f"{key}={value}" for key, value in more.items())
        raise ConfigError([f"backbone.arguments ({shown}) do not suit {architecture}: {told}"]) from error
    _check_patches(net, name, input_size if fixed else 0)
    return net


def _check_patches(net: Any, name: str, input_size: int) -> None:
    """Refuse an input size that patches do not fill; 0 stands for a network of any size."""
    patch = max(getattr(getattr(net, "patch_embed", None), "patch_size", (1,))) if input_size else 1
    if input_size % patch:
        nearest = max(patch, round(input_size / patch) * patch)
        raise ConfigError(
            [f"backbone.input_size={input_size} is no multiple of {name}'s patches of {patch} pixels; try {nearest}"]
        )
