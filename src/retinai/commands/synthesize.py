"""`retinai synthesize`: draw a synthetic cohort in the folder tree of a data set's owner."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

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
    from retinai.synthetic.cohort import write_cohort

    out = Path(str(cfg.out)).expanduser()
    workers = None if cfg.workers == "auto" else int(cfg.workers)
    start = time.perf_counter()
    odds = {str(key): float(value) for key, value in cfg.log_odds.items()}
    write_cohort(out, str(cfg.layout), cfg.n, cfg.size, cfg.seed, workers=workers, masks=cfg.masks, log_odds=odds)
    show(out, str(cfg.layout), time.perf_counter() - start)


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
