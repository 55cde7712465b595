"""Studies (`hydra/sweeper=optuna`): the search, going on with it, pruning, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_run import train

Command = Callable[..., int]
SPACE = ["optimizer.lr=interval(0.01,1)", "optimizer.weight_decay=interval(0,1)"]


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A study of a function of two keys, which stands for the training; its best value is 0 at (0.3, 0.6)."""

    def value(cfg: Any) -> float:
        return -((cfg.optimizer.lr - 0.3) ** 2) - (cfg.optimizer.weight_decay - 0.6) ** 2

    monkeypatch.setattr("retinai.commands.train.run", value)
    return [
        "hydra/sweeper=optuna",
        "study=known",
        "trainer=cpu",
        "logger=none",
        f"paths.outputs={tmp_path / 'outputs'}",
    ]


def test_the_best_of_a_known_function_is_found_and_a_study_goes_on(
    words: list[str], tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    study = tmp_path / "outputs" / "sweeps" / "known"
    assert command("train", "-m", *words, *SPACE, "hydra.sweeper.n_trials=16") == 0
    said = capsys.readouterr().out
    best = float(said.split("best: trial ")[1].split(", ")[1])
    assert best > -0.01  # sixteen points drawn at random are this near with a chance of 0.4
    page = (study / "report.html").read_text()
    assert page.count("data:image/png") == 2 and "16 of 16 finished" in page
    assert len(json.loads((study / "sweep.json").read_text())["jobs"]) == 16

    assert command("train", "-m", "study=known", words[-1], "hydra/sweeper=optuna", "hydra.sweeper.n_trials=18") == 0
    assert len(json.loads((study / "sweep.json").read_text())["jobs"]) == 18
    assert command("runs", "sweep=known", words[-1]) == 0
    capsys.readouterr()

    changed = ["optimizer.lr=interval(0.01,2)", SPACE[1]]
    assert command("train", "-m", *words, *changed, "hydra.sweeper.n_trials=19") == 2
    said = capsys.readouterr().err
    assert "is a study with other ranges (optimizer.lr was" in said and "Traceback" not in said
    journal = study / "study.journal"
    content = journal.read_bytes()
    lines = content.splitlines(keepends=True)
    for damaged, told in (
        (content[:-5], "is cut short: line"),
        (b"".join(lines[: len(lines) // 2]), "trials, and 18 were begun"),
        (lines[0] + b"{]\n" + b"".join(lines[2:]), "line 2 is no whole record"),
        (b"", "0 trials, and 18 were begun"),
    ):
        journal.write_bytes(damaged)
        assert command("train", "-m", *words, *SPACE, "hydra.sweeper.n_trials=19") == 2
        assert told in capsys.readouterr().err
        assert journal.read_bytes() == damaged


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["seed=1"], "nothing is searched"),
        (["optimizer.lr=tag(log, interval(0,1))"], "is no space to search in"),
        (["optimizer.lr=interval(-1,1)"], "optimizer.lr"),
        (["loss=focal,focus"], "loss=focus: no such option"),
        ([*SPACE, "hydra.sweeper.n_trials=0"], "n_trials=0 must be at least 1"),
        ([*SPACE, "hydra.sweeper.startup=-1"], "startup=-1 must be at least 0"),
        ([*SPACE, "hydra.sweeper.warmup=-1"], "warmup=-1 must be at least 0"),
        ([*SPACE, "hydra.sweeper.seed=99999999999"], "seed=99999999999 must be at most"),
        ([*SPACE, "hydra.sweeper.seed=-1"], "seed=-1 must be at least 0"),
        ([*SPACE, "hydra.sweeper.direction=up"], "hydra.sweeper.direction"),
        ([*SPACE, "hydra.sweeper.objectives=[score,speed]"], "hydra.sweeper.objectives"),
        (
            [*SPACE, "hydra.sweeper.objectives=[score,score]"],
            "must name one or more, each once",
        ),
        ([*SPACE, "max_jobs=10"], "would start 20 jobs"),
        ([*SPACE, "sweep=other"], "leave out sweep="),
        ([*SPACE, "study=null"], "needs study=NAME"),
    ],
)
def test_a_search_that_makes_no_sense_is_refused(
    words: list[str], tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str], more: list[str], told: str
) -> None:
    assert command("train", "-m", *words, *more) == 2
    said = capsys.readouterr().err
    assert told in said and "Traceback" not in said
    assert not (tmp_path / "outputs").exists()


def test_a_trial_below_the_others_stops_after_its_first_epochs(tmp_path: Path) -> None:
    import optuna

    from retinai.sweeps.pruning import PruneTrial
    from retinai.sweeps.study import PRUNED_AT, open_study

    study = open_study(tmp_path, direction="maximize")
    for _ in range(3):
        trial = study.ask()
        for epoch in range(4):
            trial.report(2.0, epoch)  # above any kappa
        study.tell(trial, 2.0)
    study.ask()
    _, trainer = train(tmp_path / "run", more=(PruneTrial(tmp_path, 3, "val/qwk", startup=2, warmup=1),))
    assert trainer.current_epoch == 2  # the epoch of the warm-up, and the one after which it was stopped
    stopped = open_study(tmp_path).trials[3]
    assert stopped.user_attrs[PRUNED_AT] == 1 and len(stopped.intermediate_values) == 2
    assert stopped.state == optuna.trial.TrialState.RUNNING  # the sweeper tells how it ended
