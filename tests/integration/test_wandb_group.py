"""Commands that measure a run log into its group at W&B, with what came from what; photographs only when asked for."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import wandb
from small_network import SMALL_NETWORK
from wandb_files import OfflineRun, offline_runs

from retinai.callbacks.checkpoints import LastCheckpoint

Command = Callable[..., int]
TINY = ["data=idrid", "data.num_workers=0", *SMALL_NETWORK, "backbone.input_size=32",
        "trainer=cpu", "calibrate=false"]  # fmt: skip


@pytest.fixture(scope="module")
def trained(synthetic_idrid: Path, command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that W&B knows, of a sweep of its own."""
    base = tmp_path_factory.mktemp("tracked")
    words = [*TINY, f"data.root={synthetic_idrid}", "trainer.max_epochs=1", f"paths.cache={base / 'cache'}"]
    assert command("train", *words, f"run_dir={base / 'run'}", "logger.group=study", "logger.project=eyes") == 0
    wandb.teardown()  # its process still writes when the run has ended
    return base / "run"


def told(folder: Path) -> OfflineRun:
    wandb.teardown()
    [run] = offline_runs(folder)
    return run


def contents(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("wandb/**/*")) if path.is_file())


def test_data_checkpoint_evaluation_and_exported_folder_are_one_line(
    trained: Path, command: Command, tmp_path: Path
) -> None:
    places = [f"paths.cache={trained.parent / 'cache'}", "num_workers=0"]
    words = [f"ckpt={trained / 'checkpoints' / 'best.ckpt'}", *places]
    training = told(trained)
    assert (training.group, training.job) == ("study", "train")
    [data], [checkpoint] = training.used, training.made
    assert data.startswith("data-") and checkpoint == f"checkpoint-{training.id}"

    assert command("evaluate", *words, "split=val", f"run_dir={tmp_path / 'evaluation'}") == 0
    evaluation = told(tmp_path / "evaluation")
    assert (evaluation.group, evaluation.job) == ("study", "evaluate") and evaluation.id != training.id
    assert evaluation.used == [data, checkpoint] and evaluation.made[0].startswith("evaluation-")
    assert evaluation.config["split"] == {"value": "val"} or evaluation.config["split"] == "val"
    assert {"test/qwk", "test/accuracy_low"} <= set(evaluation.summary)
    content = contents(tmp_path / "evaluation")
    assert b"confusion_matrix" in content and b"\xff\xd8\xff" not in content and b"IDRiD_" not in content

    assert command("evaluate", *words, f"run_dir={tmp_path / 'shown'}", "logger.photographs=true") == 0
    wandb.teardown()
    assert b"\xff\xd8\xff" in contents(tmp_path / "shown")

    assert command("export", *words, f"out={tmp_path / 'folder'}") == 0
    wandb.teardown()
    exported = offline_runs(trained)[-1]
    assert (exported.group, exported.job) == ("study", "export") and exported.used == [checkpoint]
    assert exported.made[0].startswith("exported-") and not (tmp_path / "folder" / "wandb").exists()


def test_explain_benchmark_probe_and_report_log_into_the_group(
    trained: Path, synthetic_idrid: Path, command: Command, tmp_path: Path
) -> None:
    ckpt, cache = f"ckpt={trained / 'checkpoints' / 'best.ckpt'}", f"paths.cache={trained.parent / 'cache'}"
    words = [ckpt, cache, "num_workers=0", "split=test", "accelerator=cpu", "method=gradcam", "layer=layer3"]
    assert command("explain", *words, "resamples=10", f"run_dir={tmp_path / 'explain'}") == 0
    run = told(tmp_path / "explain")
    assert (run.group, run.job, run.summary["explain/photographs"]) == ("study", "explain", 10)
    assert not list((tmp_path / "explain").rglob("wandb/**/*.png"))

    rows = [f"{key}=[]" for key in ("students", "baselines", "reference", "baseline_engines", "untrained")]
    assert command("benchmark", ckpt, cache, "quick=true", *rows, f"run_dir={tmp_path / 'benchmark'}") == 0
    run = told(tmp_path / "benchmark")
    assert (run.group, run.job) == ("study", "benchmark") and run.used == [f"checkpoint-{offline_runs(trained)[0].id}"]
    assert run.summary["benchmark/student-pytorch/parameters"] > 3e5

    embedded, data = tmp_path / "a.npz", ["data=idrid", f"data.root={synthetic_idrid}", cache]
    assert command("embed", ckpt, *data, f"out={embedded}", "num_workers=0") == 0
    more = ["target=any_dr", "resamples=10", f"run_dir={tmp_path / 'probe'}"]
    assert command("probe", f"embeddings={embedded}", *data, *more) == 0
    run = told(tmp_path / "probe")
    assert (run.group, run.job) == ("study", "probe") and "probe/any_dr/a/auroc" in run.summary

    assert command("report", trained, f"out={tmp_path / 'report'}") == 0
    run = told(tmp_path / "report")
    assert (run.group, run.job) == ("study", "report") and b"report/runs" in contents(tmp_path / "report")


def test_a_run_without_wandb_stays_out_of_it(tiny_runs: list[Path], command: Command, tmp_path: Path) -> None:
    assert command("report", tiny_runs[0], f"out={tmp_path / 'a'}") == 0
    assert not (tmp_path / "a" / "wandb").exists()
    assert command("report", tiny_runs[0], f"out={tmp_path / 'c'}", "logger.group=mine") == 0
    assert told(tmp_path / "c").group == "mine"


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("logger=tensorboard", "logger.name=tensorboard is not allowed (valid: wandb, none); only a training has"),
        ("logger.checkpoints=true", "it is the training that sends its checkpoint"),
    ],
)
def test_loggers_of_trainings_alone_are_refused(
    word: str, said: str, trained: Path, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("report", trained, f"out={tmp_path / 'out'}", word) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_resumed_run_goes_on_in_the_same_run_of_wandb(
    synthetic_idrid: Path, trained: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = LastCheckpoint.on_train_epoch_end

    def stop(self: LastCheckpoint, *args: object) -> None:
        saved(self, *args)  # type: ignore[arg-type]
        raise SystemExit(143)

    words = [*TINY, f"data.root={synthetic_idrid}", f"paths.cache={trained.parent / 'cache'}", "trainer.max_epochs=2"]
    with monkeypatch.context() as patched:
        patched.setattr(LastCheckpoint, "on_train_epoch_end", stop)
        assert command("train", *words, "test=false", f"run_dir={tmp_path / 'run'}") == 143
    wandb.teardown()
    shutil.rmtree(tmp_path / "run" / "wandb" / "latest-run", ignore_errors=True)
    assert command("train", "resume=true", f"run_dir={tmp_path / 'run'}") == 0
    wandb.teardown()
    before, after = offline_runs(tmp_path / "run")
    assert before.id == after.id and before.group == after.group and (after.job, after.name) == ("train", before.name)
    steps = [max(row["_step"] for row in run.history) for run in (before, after)]
    assert min(row["_step"] for row in after.history) > steps[0] and steps[1] == 2 * steps[0] + 1
