"""The sweep of experiments/odir_course in small, from drawn photographs to the table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from retinai.files import read_csv

Command = Callable[..., int]


def test_tasks_become_rows_of_one_table(synthetic_odir_course: Path, command: Command, tmp_path: Path) -> None:
    sweep = tmp_path / "outputs" / "sweeps" / "course"
    words = [
        "+experiment=odir_course_head,odir_course_mha", "data=odir", "data.split=patient", "sweep=course",
        f"data.root={synthetic_odir_course}", "data.num_workers=0", "data.limit=24", "data.batch_size=8",
        "backbone.weights=none", "backbone.architecture=test_resnet", "backbone.input_size=24", "trainer=cpu",
        "trainer.max_epochs=1", "model.hidden=8", "logger=none", "calibrate=false",
        f"paths.outputs={tmp_path / 'outputs'}", f"paths.cache={tmp_path / 'cache'}",
    ]  # fmt: skip
    assert command("train", "-m", *words) == 0
    runs = sorted(str(path.parent) for path in sweep.glob("*/run.json"))
    assert len(runs) == 2
    assert command("report", *runs, f"out={tmp_path / 'table'}", "format=csv") == 0
    (table,) = (tmp_path / "table").glob("*.csv") if (tmp_path / "table").is_dir() else [tmp_path / "table.csv"]
    assert len(read_csv(table)) == 2
