"""`retinai embed`: the embeddings of photographs by a frozen encoder, in a file that other tools read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retinai.errors import UserError
from retinai.log import logger, note
from retinai.output_folders import check_file

if TYPE_CHECKING:
    from omegaconf import DictConfig


def run(cfg: DictConfig) -> None:
    """Embed photographs and say what it cost.

    Args:
        cfg: The composed configuration of `conf/embed.yaml`, already checked.

    Raises:
        UserError: If encoder or photographs are not named or cannot be used.
    """
    from retinai.embeddings.choose import check_choice, make_request, open_encoder
    from retinai.embeddings.extract import embed_photographs
    from retinai.embeddings.files import check_suffix
    from retinai.embeddings.steps import FrozenEncoder
    from retinai.encoders.registry import weight_notes
    from retinai.run.console import print_notes

    check_choice(cfg)
    out = Path(str(cfg.out)).expanduser()
    check_suffix(out)
    out = check_file(out, "out", cfg.overwrite)
    sheet = None if cfg.neighbours is None else check_file(_sheet(out), "the sheet of neighbours of out", cfg.overwrite)
    encoder, preprocessing = open_encoder(cfg)
    module = FrozenEncoder(encoder, str(cfg.pooling))
    request = make_request(cfg, preprocessing)
    count = len(request.photographs.ids)
    if sheet is not None and count <= cfg.neighbours:
        raise UserError(f"neighbours={cfg.neighbours} needs more than {cfg.neighbours} photographs; there are {count}")
    if encoder.load_report is not None:
        note(f"weights: {encoder.load_report}")
    elif cfg.ckpt is None:
        note("weights: none, the encoder is as it was drawn; give backbone.weights= for more than a control")
    print_notes(weight_notes({"name": encoder.name, "weights": encoder.weights}, request.data or None))
    _tell(embed_photographs(module, request, out), out)
    if sheet is not None:
        _draw_neighbours(out, sheet, int(cfg.neighbours), request.labels)


def _sheet(out: Path) -> Path:
    return out.with_name(f"{out.stem}_neighbours.png")


def _draw_neighbours(out: Path, sheet: Path, count: int, labels: Mapping[str, str]) -> None:
    from retinai.embeddings.files import read_embeddings
    from retinai.embeddings.neighbours import neighbours_figure
    from retinai.reports.style import save_figure

    found = read_embeddings(out)
    if len(found.ids) <= count:  # the others could not be read
        note(f"no sheet of neighbours: only {len(found.ids)} photographs could be read")
        return
    logger.info(f"nearest photographs: {save_figure(neighbours_figure(found, count, labels), sheet)}")


def _tell(info: dict[str, Any], out: Path) -> None:
    speed = info["ms_per_photograph"]
    took = "" if speed is None else f", {speed:.1f} ms per photograph in the network"
    logger.info(
        f"{info['photographs']} photographs, {info['numbers']} numbers each ({info['pooling']}, {info['dtype']}): "
        f"{info['bytes_per_photograph']} bytes per photograph{took}, {info['seconds']:.0f} s in all"
    )
    unreadable = list(info["unreadable"].items())
    if unreadable:
        logger.info(f"{len(unreadable)} photographs could not be read and are not in the file:")
    for name, reason in unreadable[:10]:
        logger.info(f"  {name}: {reason}")
    logger.info(f"file: {out}")
