"""`retinai app`: a page for the clinic on an exported folder, and REST beside it, without torch."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from retinai.log import logger

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from retinai.app.service import Service


def run(cfg: DictConfig) -> None:
    """Serve the page until Ctrl-C.

    Args:
        cfg: The composed configuration of `conf/app.yaml`, already checked.

    Raises:
        UserError: If the folder, the address, the password or the record cannot be used.
    """
    from retinai.app.security import find_password
    from retinai.app.server import bound, make_server_app, private_uploads, serve

    password = find_password(cfg.password_file, str(cfg.host))
    with bound(str(cfg.host), int(cfg.port)) as taken, private_uploads():
        service = open_service(cfg)
        try:
            serve(make_server_app(service, str(cfg.host), str(cfg.language), password), taken)
        finally:
            service.close()


def open_service(cfg: DictConfig) -> Service:
    """Open the exported folder, the record, and the processes that read.

    Args:
        cfg: The composed configuration.
    """
    from omegaconf import OmegaConf

    from retinai.app.audit import AuditLog
    from retinai.app.guideline import Guideline
    from retinai.app.reader import Readers
    from retinai.app.results import ReferralRule
    from retinai.app.service import Service
    from retinai.runtime import ExportedModel
    from retinai.runtime.cpu import CpuWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CpuWarning)  # told below, in the manner of a command
        model = ExportedModel(str(cfg.model.folder), threads=cfg.threads)
    # Opened before the page is, so that a network of masks that cannot be used is told at once.
    masks = None if model.folder.masks is None else model.masks.facts.preprocessing
    for note in model.notes:
        logger.warning(note)
    section = OmegaConf.to_container(cfg.recommendation) if cfg.get("recommendation") else None
    assert section is None or isinstance(section, dict)
    guideline = Guideline.of_section(section, model.task)
    if guideline is None:
        logger.warning(f"no recommendation is set up for task {model.task.name}: the page gives the answer alone")
    rule = ReferralRule.of_words(list(cfg.refer_if), model.calibration)
    keep = None if cfg.keep_photographs is None else Path(str(cfg.keep_photographs)).expanduser()
    audit = None if cfg.audit is None else AuditLog(Path(str(cfg.audit)).expanduser(), keep)
    readers = Readers(model.preprocessing, model.folder.fields, float(cfg.time_limit), masks=masks)
    return Service(model, readers, guideline, rule, audit, int(cfg.max_megabytes) * 2**20)
