"""`retinai synthesize`: draw a synthetic cohort in the folder tree of a data set's owner."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING

from retinai.errors import UserError
from retinai.log import logger

if TYPE_CHECKING:
    from omegaconf import DictConfig


def run(cfg: DictConfig) -> None:
    """Draw the cohort, then print its folder, its classes, and the command to type next.

    Args:
        cfg: Composed `conf/synthesize.yaml`.

    Raises:
        UserError: If the layout needs more photographs, or `out` is not an empty folder.
    """
    from retinai.synthetic.cohort import DRAWN_SIZE, write_cohort

    out = Path(str(cfg.out)).expanduser()
    if cfg.generator.ckpt is not None:
        return make_up(cfg, out)
    workers = None if cfg.workers == "auto" else int(cfg.workers)
    start = time.perf_counter()
    write_cohort(
        out,
        str(cfg.layout),
        cfg.n,
        cfg.size or DRAWN_SIZE,
        cfg.seed,
        workers=workers,
        masks=cfg.masks,
        camera=str(cfg.camera),
        log_odds={str(key): float(value) for key, value in cfg.log_odds.items()},
    )
    show(out, str(cfg.layout), time.perf_counter() - start)


def make_up(cfg: DictConfig, out: Path) -> None:
    """Write photographs that a generator makes up, and say what to do with them.

    Args:
        cfg: The configuration, with `generator.ckpt`.
        out: A new or empty folder.

    Raises:
        UserError: If an option is of drawn cohorts, or the generator does not make such photographs.
    """
    from retinai.synthetic.cohort import check_out
    from retinai.vae.sampling import load_generator, write_photographs

    own = load_generator(str(cfg.generator.ckpt)).preprocessing.input_size
    if cfg.size is not None and cfg.size != own:
        raise UserError(f"size={cfg.size}: the generator makes photographs of {own} pixels; leave size= out")
    if cfg.masks or cfg.camera != "mixed":
        raise UserError("masks= and camera= are of drawn cohorts; leave them out with from=")
    check_out(out)
    start = time.perf_counter()
    facts = write_photographs(str(cfg.generator.ckpt), cfg.generator.label, cfg.n, cfg.seed, out)
    seconds = time.perf_counter() - start
    logger.info(f"{cfg.n} photographs of class {facts['class']} by {facts['generator']}, in {seconds:.0f} s: {out}")
    logger.info(f"next: python train.py ... {shlex.quote(f'data.extra_train={out}')}")


def show(out: Path, layout: str, seconds: float) -> None:
    """Print how many photographs of each class were written, where, and what to do with them."""
    from rich.console import Console
    from rich.table import Table

    from retinai.synthetic.summary import count_labels, next_command

    console = Console(soft_wrap=True, highlight=False)
    table = Table("label", "photographs", title=f"synthetic cohort, layout {layout}", title_justify="left")
    table.columns[1].justify = "right"
    for label, count in count_labels(out, layout):
        table.add_row(label, str(count))
    console.print(table)
    logger.info(f"written to {out} in {seconds:.0f} s")
    logger.info(f"next: {next_command(out, layout)}")
