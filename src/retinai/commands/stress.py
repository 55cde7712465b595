"""`retinai stress`: how a checkpoint's answers hold when photographs get worse, are turned, or come from one group."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retinai.log import logger
from retinai.output_folders import check_folder, check_new

if TYPE_CHECKING:
    import pandas as pd
    from omegaconf import DictConfig

RECORD = "stress.json"
_FILES = (RECORD, "variants.csv", "groups.csv", "stress.png")


def run(cfg: DictConfig) -> None:
    """Show a checkpoint every variant of a split's photographs and write tables, a figure and `stress.json`.

    Args:
        cfg: The composed configuration of `conf/stress.yaml`, already checked.

    Raises:
        UserError: If the checkpoint, the data or the folder cannot be used.
    """
    from retinai.run.checkpoint_data import run_folder_of
    from retinai.run.results import named_folder

    if cfg.run_dir is None:
        check_folder(run_folder_of(Path(cfg.ckpt)) / "stress", "run_dir")
        _stress(cfg, None)
        return
    with named_folder(lambda: check_new(cfg.run_dir, "run_dir", _FILES, cfg.overwrite), "retinai stress") as folder:
        _stress(cfg, folder)


def _stress(cfg: DictConfig, folder: Path | None) -> None:
    """Predict and write; without a folder into one that is named after what is shown."""
    from retinai.modules.load import load_module
    from retinai.run.checkpoint_data import open_data, run_folder_of
    from retinai.run.console import print_notes
    from retinai.run.results import held_or_new
    from retinai.stress.predicting import predict_variants
    from retinai.stress.variants import all_variants

    checkpoint = Path(cfg.ckpt)
    module = load_module(checkpoint)
    module.task.require_probabilities(str(checkpoint), "retinai stress counts changed decisions, which are of classes")
    datamodule, notes = open_data(cfg, module, checkpoint)
    datamodule.setup()
    table = _chosen(datamodule.split_table(cfg.split), cfg.photographs)
    print_notes([*datamodule.notes, *notes])
    variants = all_variants(list(cfg.severities), list(cfg.angles))
    stressed = predict_variants(module, table, variants, int(cfg.num_workers), str(cfg.accelerator))
    content = _measured(module, table, stressed, int(cfg.resamples))
    name = f"{datamodule.name}_{cfg.split}_{datetime.now():%Y-%m-%d_%H-%M-%S}"
    default = run_folder_of(checkpoint) / "stress" / name
    facts = {"checkpoint": str(checkpoint), "data": str(datamodule.name), "split": str(cfg.split), "n": len(table)}
    with held_or_new(folder, default, "retinai stress") as place:
        _write(place, facts | content)


def _chosen(table: pd.DataFrame, count: int | None) -> pd.DataFrame:
    import numpy as np

    if count is None or count >= len(table):
        return table.reset_index(drop=True)
    return table.iloc[np.linspace(0, len(table) - 1, count).astype(int)].reset_index(drop=True)


def _measured(module: Any, table: pd.DataFrame, stressed: Any, resamples: int) -> dict[str, Any]:
    from retinai.stress.measures import group_rows, groupings, retention, variant_rows

    task, rule = module.task, module.decision_rule
    targets = task.target_array(table["target"].tolist())
    patients = table["patient"].astype(str).tolist()
    rows = variant_rows(stressed, targets, patients, task, rule, resamples)
    groups = group_rows(groupings(table, stressed), stressed.probabilities[0], targets, patients, task, rule, resamples)
    return {
        "metric": task.main_metric, "metric_name": task.metric_labels[task.main_metric], "variants": rows,
        "retention": retention(rows), "groups": groups,
    }  # fmt: skip


def _write(folder: Path, content: dict[str, Any]) -> None:
    import pandas as pd

    from retinai.files import write_csv, write_json
    from retinai.reports.style import save_figure
    from retinai.stress.page import curves

    write_csv(folder / "variants.csv", pd.DataFrame(content["variants"]))
    write_csv(folder / "groups.csv", pd.DataFrame(content["groups"]))
    save_figure(curves(content["variants"], content["metric_name"]), folder / "stress.png")
    write_json(folder / RECORD, content)
    plain = content["variants"][0]
    logger.info(f"{content['metric_name']} of the {plain['n']} photographs as they are: {plain['value']:.3f}")
    if not content["retention"]:
        logger.info("  how much of it is kept is not defined, since it is not above 0")
    for kind, kept in sorted(content["retention"].items(), key=lambda item: item[1]):
        logger.info(f"  {kind}: {kept:.0%} of it is kept on average")
    for row in content["groups"]:
        if row["worst"]:
            logger.info(
                f"  worst {row['grouping']}: {row['group']} ({row['n']} photographs) {row['value']:.3f}, "
                f"{row['gap']:.3f} below the best, p = {row['p']:.3f}"
            )
    logger.info(f"run folder: {folder}")
