"""`retinai report RUN...`: runs side by side, with mean and spread over folds and seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from retinai.errors import UserError
from retinai.log import logger
from retinai.output_folders import check_folder, check_new

if TYPE_CHECKING:
    from omegaconf import DictConfig


def run(cfg: DictConfig) -> None:
    """Compare runs, write the tables, print the Markdown one.

    Args:
        cfg: The composed configuration of `conf/report.yaml`, already checked.
    """
    from retinai.reports.compare import compare, write_comparison
    from retinai.run.finished import load_runs
    from retinai.run.results import named_or_new
    from retinai.sweeps.record import read_sweep
    from retinai.sweeps.report import sweep_of, write_report
    from retinai.tasks.task import all_metric_labels

    formats = [cfg.format] if isinstance(cfg.format, str) else list(cfg.format)
    if not cfg.runs:
        raise UserError("no runs given; write: retinai report RUN_FOLDER RUN_FOLDER ... (retinai runs lists them)")
    if cfg.out:
        out = check_folder(cfg.out, "out")
        if out.suffix in (".md", ".csv", ".html") and not out.exists():
            raise UserError(f"out={out} names a file, but the tables go into a folder; leave out {out.suffix!r}")
    else:
        check_folder(cfg.paths.outputs, "paths.outputs")
        out = Path(cfg.paths.outputs) / "reports" / f"{datetime.now():%Y-%m-%d_%H-%M-%S}"

    def named() -> Path:
        return check_new(out, "out", tuple(f"report.{name}" for name in formats), cfg.overwrite)

    if unknown := sorted(set(cfg.metrics or ()) - set(all_metric_labels())):
        raise UserError(f"metrics={','.join(unknown)} is unknown (valid: {', '.join(all_metric_labels())})")
    sweep = sweep_of([str(run) for run in cfg.runs], str(cfg.paths.outputs))
    if sweep is not None:
        place = named() if cfg.out else sweep
        told = {"resamples": int(cfg.resamples), "against": cfg.against, "metrics": cfg.metrics}
        logger.info(f"{write_report(sweep, place, formats, **told)}\ntables: {place}")
        _track(cfg, place, formats, [sweep / job.folder for job in read_sweep(sweep).jobs])
        return
    runs, damaged = load_runs([str(run) for run in cfg.runs])
    if cfg.out:  # after reading the runs, so that what is wrong with them is told first
        named()
    rows = compare(runs, resamples=int(cfg.resamples), against=cfg.against, damaged=damaged)
    if cfg.metrics:
        rows = [replace(row, metrics={k: v for k, v in row.metrics.items() if k in cfg.metrics}) for row in rows]
    with named_or_new(cfg.out, named, out, "retinai report", "out") as folder:
        logger.info(write_comparison(rows, folder, formats))
    if damaged:
        logger.info(
            f"{len(damaged)} of {len(runs) + len(damaged)} runs could not be compared; the column problem says why"
        )
    _track(cfg, folder, formats, [run.folder for run in runs])
    logger.info(f"tables: {folder}")


def _track(cfg: DictConfig, folder: Path, formats: Sequence[str], runs: Sequence[Path]) -> None:
    """Tell W&B the table of the report, in the group of the first run that it knows."""
    from retinai.files import read_csv
    from retinai.run.factories import plain
    from retinai.tracking.measurement import Measurement, tell

    def measured() -> Measurement:
        from retinai.tracking.wandb_tables import table

        found = read_csv(folder / "report.csv") if "csv" in formats and (folder / "report.csv").exists() else None
        records = [] if found is None else found.astype(object).where(found.notna(), None).to_dict("records")
        rows = [{str(key): value for key, value in record.items()} for record in records]
        tables = [lambda: table("report/runs", rows)] if rows else []
        return Measurement("report", folder, {"runs": len(runs)}, {"report/runs": float(len(runs))}, lambda _: tables)

    tell(plain(cfg.logger), measured, runs)
