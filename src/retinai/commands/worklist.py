"""`retinai worklist`: a folder of photographs as a page, the most urgent first, without torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from retinai.errors import UserError
from retinai.log import logger
from retinai.output_folders import check_file

if TYPE_CHECKING:
    from omegaconf import DictConfig


def run(cfg: DictConfig) -> None:
    """Grade the photographs and write page and table.

    Args:
        cfg: The composed configuration of `conf/worklist.yaml`, already checked.

    Raises:
        UserError: If the folder, the photographs, the record or the files to write cannot be used.
    """
    from retinai.app.texts import load_texts
    from retinai.app.worklist import grade_all, to_page, to_table
    from retinai.commands.app import open_service
    from retinai.files import write_csv, write_text
    from retinai.prediction.photographs import find_photographs

    out = Path(str(cfg.out)).expanduser()
    if out.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"out={out} must be an .html file; the table is written beside it")
    check_file(out, "out", bool(cfg.overwrite))
    table = check_file(out.with_suffix(".csv"), "out", bool(cfg.overwrite))
    if cfg.audit is not None and Path(str(cfg.audit)).expanduser().absolute() in (out.absolute(), table.absolute()):
        raise UserError(f"audit={cfg.audit} is a file that out={out} writes; name another file for the record")
    photographs = find_photographs(str(cfg.images))
    service = open_service(cfg)
    try:
        entries = grade_all(service, photographs)
    finally:
        service.close()
    write_text(out, to_page(entries, service, load_texts(str(cfg.language))))
    write_csv(table, to_table(entries, service.model.task.classes))
    refer = sum(entry.result.action == "refer" for entry in entries)
    logger.info(f"{len(entries)} photographs, {refer} to refer: {out}")
