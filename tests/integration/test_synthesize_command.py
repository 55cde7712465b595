"""`retinai synthesize` as it is typed."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pandas as pd

Runner = Callable[..., "subprocess.CompletedProcess[str]"]


def test_it_writes_a_cohort_and_says_what_to_type_next(run_cli: Runner, tmp_path: Path) -> None:
    done = run_cli("synthesize", "layout=aptos", "n=12", "size=64", "workers=1", "out=my cohort", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(pd.read_csv(tmp_path / "my cohort" / "train.csv")) == 12
    assert "0 no_dr" in done.stdout
    assert "written to my cohort" in done.stdout
    assert "next: python train.py data=aptos 'data.root=my cohort'" in done.stdout
    assert [p.name for p in tmp_path.iterdir()] == ["my cohort"]


def test_faults_are_one_sentence_and_exit_code_2(run_cli: Runner, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    for words, told in (
        (["out=full"], "out=full exists and is not an empty folder"),
        (["out=new", "layout=xyz"], "layout=xyz is not allowed (valid: aptos, idrid"),
        ([], "out"),
    ):
        done = run_cli("synthesize", *words, cwd=tmp_path)
        assert done.returncode == 2, done.stderr
        assert told in done.stderr
        assert "Traceback" not in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["full"]
