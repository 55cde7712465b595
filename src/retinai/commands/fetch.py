"""`retinai fetch`: what a backbone needs from a network (weights, tokenizer, processor), for machines without one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retinai.errors import ConfigError, UserError
from retinai.log import logger, note
from retinai.output_folders import check_folder

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from retinai.encoders.fetching import HubNetwork

# In the place of a folder: the hub's own cache, where a training finds files by the hub's names.
CACHE = "HF_HOME"


def run(cfg: DictConfig) -> None:
    """Get weights, or a network with tokenizer and processor, and say how they are used.

    Args:
        cfg: The composed configuration of `conf/fetch.yaml`, already checked.

    Raises:
        UserError: If no backbone is given, or what it needs cannot be had.
    """
    from retinai.run.factories import plain

    if cfg.get("backbone") is None:
        raise ConfigError(["give backbone=, whose weights are to be fetched"])
    section = plain(cfg.backbone)
    folder = _folder(str(cfg.out))
    networks = _networks(section)
    for network in networks:
        _fetch_network(network, folder, bool(cfg.overwrite))
    if not networks:
        _fetch_weights(section, folder, bool(cfg.overwrite))


def _folder(out: str) -> Path | None:
    """Return the folder of `out=`; None: the hub's cache."""
    from retinai.encoders.hub_files import hub_cache

    if out != CACHE:
        return check_folder(out, "out")
    check_folder(hub_cache(), CACHE)
    return None


def _fetch_network(network: HubNetwork, folder: Path | None, overwrite: bool) -> None:
    from retinai.encoders.fetching import fetch_network

    there = fetch_network(network, folder, overwrite)
    if folder is None:
        logger.info(f"folder: {there}, found by {network.key}={network.repository} where HF_HOME is the same")
    else:
        logger.info(f"folder: {there} ({network.key}={there})")


def _fetch_weights(section: Mapping[str, Any], folder: Path | None, overwrite: bool) -> None:
    from retinai.encoders.fetching import check_hash, fetch_weights, published_weights
    from retinai.run.console import print_notes
    from retinai.zero_shot.network import PUBLISHED

    known = published_weights(section)
    print_notes(known.notes())
    file = fetch_weights(known, folder, overwrite)
    logger.info(f"{known.title}, {known.licence}, pre-trained on {', '.join(known.pretrained_on)}")
    logger.info(f"SHA-256 {check_hash(file, known.sha256)}{' as known' if known.sha256 else ''}")
    used = f"backbone={known.backbone}" + ("" if folder is None else f" backbone.weights={file}")
    logger.info(f"file: {file} ({used}{' where HF_HOME is the same' if folder is None else ''})")
    if known.backbone in PUBLISHED:
        note(
            f"to grade by text prompts, {known.backbone} needs its text tower besides: retinai fetch "
            f"backbone={known.backbone} backbone.weights={PUBLISHED[known.backbone]}"
        )


def _networks(section: Mapping[str, Any]) -> list[HubNetwork]:
    """Return the networks in the format of transformers that a `backbone` section takes from the hub.

    Raises:
        UserError: If it is a LLaVA for which there is nothing to fetch.
    """
    from retinai.config.build import resolve_target
    from retinai.encoders.fetching import HubNetwork
    from retinai.encoders.registry import is_hub_name
    from retinai.llava.settings import LlavaSettings, read_settings

    if resolve_target(section, trusted=True) is not LlavaSettings:
        weights = str(section.get("weights"))
        return [HubNetwork("backbone.weights", weights)] if is_hub_name(weights) else []
    settings = read_settings(section)
    names = settings.hub_networks()
    if settings.is_assembled:
        note(
            f"the vision tower {settings.vision} is a backbone of its own: retinai fetch backbone={settings.vision} "
            f"out={CACHE} gets weights that are on the hub"
        )
    if not names:
        raise UserError(f"nothing of backbone {settings.name} comes from the hub: {_origin(settings)}")
    return [HubNetwork(key, name, settings.revision) for key, name in names.items()]


def _origin(settings: Any) -> str:
    """Return where a LLaVA comes from that is not on the hub."""
    if settings.is_tiny:
        return "it is built on the spot"
    if settings.is_assembled:
        return f"its language model is backbone.language={settings.language}, a pip package, a file or a folder"
    return f"backbone.weights={settings.weights} is no name of the hub (OWNER/NAME), or lies on this machine already"
