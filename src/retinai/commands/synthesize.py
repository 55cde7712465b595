"""`retinai synthesize`: draw a synthetic cohort in the folder tree of a data set's owner."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omegaconf import DictConfig


def run(cfg: DictConfig) -> None:
    """Draw the cohort, then print its folder, its classes, and the command to type next.

    Args:
        cfg: Composed `conf/synthesize.yaml`.

    Raises:
        UserError: If a value is out of range or `out` is not an empty folder.
    """
    from retinai.synthetic.cohort import write_cohort

    out = Path(str(cfg.out)).expanduser()
    workers = None if cfg.workers in (None, "auto") else whole_number("workers", cfg.workers)
    n, size, seed = (whole_number(key, cfg[key]) for key in ("n", "size", "seed"))
    if not isinstance(cfg.masks, bool):
        from retinai.errors import UserError

        raise UserError(f"masks={cfg.masks} is neither true nor false")
    start = time.perf_counter()
    write_cohort(out, str(cfg.layout), n, size, seed, workers=workers, masks=cfg.masks)
    show(out, str(cfg.layout), time.perf_counter() - start)


def whole_number(key: str, value: Any) -> int:
    """Return a value as int.

    Raises:
        UserError: If it is not a whole number; names the key.
    """
    from retinai.errors import UserError

    if isinstance(value, bool) or not isinstance(value, int):
        raise UserError(f"{key}={value} is not a whole number")
    return value


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
    console.print(f"written to {out} in {seconds:.0f} s", markup=False)
    console.print(f"next: {next_command(out, layout)}", markup=False)
