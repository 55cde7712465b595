"""`retinai fetch`: the published weights of a backbone as a file, with what their licence says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from retinai.errors import ConfigError
from retinai.log import logger
from retinai.output_folders import check_folder

if TYPE_CHECKING:
    from omegaconf import DictConfig


def run(cfg: DictConfig) -> None:
    """Get the weights and say how they are used.

    Args:
        cfg: The composed configuration of `conf/fetch.yaml`, already checked.

    Raises:
        UserError: If no backbone is given, or its weights cannot be had.
    """
    from retinai.encoders.fetching import check_hash, fetch_weights, published_weights
    from retinai.run.console import print_notes
    from retinai.run.factories import plain

    if cfg.get("backbone") is None:
        raise ConfigError(["give backbone=, whose weights are to be fetched"])
    known = published_weights(plain(cfg.backbone))
    print_notes(known.notes())
    file = fetch_weights(known, check_folder(cfg.out, "out"), bool(cfg.overwrite))
    logger.info(f"{known.title}, {known.licence}, pre-trained on {', '.join(known.pretrained_on)}")
    logger.info(f"SHA-256 {check_hash(file, known.sha256)}{' as known' if known.sha256 else ''}")
    logger.info(f"file: {file} (backbone={known.backbone} backbone.weights={file})")
