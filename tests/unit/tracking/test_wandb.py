from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import wandb
from PIL import Image

from retinai.errors import ConfigError
from retinai.prediction.predictions import Predictions
from retinai.tasks.known import DR_GRADE, ODIR_COURSE
from retinai.tracking import wandb_tables
from retinai.tracking.wandb import close, log_evaluation, make_logger, sharing_notes
from retinai.tracking.wandb_connection import run_id, wanted_mode

KEY = "0" * 40
RECORD = {"data": "aptos", "data_fingerprint": "f" * 64}


@pytest.fixture
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_DISABLED", "WANDB_BASE_URL", "WANDB_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    return monkeypatch


def some_predictions(folder: Path) -> Predictions:
    rng = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    paths = []
    for i in range(6):
        paths.append(str(folder / f"{i}.png"))
        Image.fromarray(rng.integers(0, 255, (40, 60, 3), dtype=np.uint8)).save(paths[-1])
    paths[5] = str(folder / "gone.png")
    return Predictions(
        task=DR_GRADE,
        ids=[str(i) for i in range(6)],
        paths=paths,
        patients=[str(i) for i in range(6)],
        targets=np.array([0, 1, 2, 3, 4, 0]),
        probabilities=rng.dirichlet(np.ones(5), size=6),
        decision_rule="argmax",
    )


@pytest.mark.parametrize(("group", "expected"), [(None, "losses"), ("mine", "mine")])
def test_the_jobs_of_a_sweep_are_one_group(
    no_settings: pytest.MonkeyPatch, tmp_path: Path, group: str | None, expected: str
) -> None:
    logger = make_logger({"name": "wandb", "group": group}, tmp_path, {"sweep": "losses"})
    assert logger is not None
    assert logger.experiment.group == expected
    wandb.finish()


def test_mode_follows_the_environment(no_settings: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert wanted_mode() == "offline"
    host = wandb.Settings().base_url.split("://")[-1]
    (tmp_path / "netrc").write_text(f"machine {host}\n  login user\n  password {KEY}\n")
    (tmp_path / "netrc").chmod(0o600)
    assert wanted_mode() == "online"
    (tmp_path / "netrc").unlink()
    no_settings.setenv("WANDB_API_KEY", KEY)
    assert wanted_mode() == "online"
    for said, meant in (("offline", "offline"), ("dryrun", "offline"), ("disabled", "disabled"), ("online", "online")):
        no_settings.setenv("WANDB_MODE", said)
        assert wanted_mode() == meant


def test_none_and_disabled_give_no_logger(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert make_logger({"name": "none"}, tmp_path, {}) is None
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert make_logger({"name": "wandb"}, tmp_path, {}) is None
    assert list(tmp_path.iterdir()) == []
    log_evaluation(None, None, {})  # type: ignore[arg-type]


def test_unknown_options_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="logger does not know 'projekt'"):
        make_logger({"name": "wandb", "projekt": "x"}, tmp_path, {})
    with pytest.raises(ConfigError, match=r"logger\.name=tensorboard is unknown"):
        make_logger({"name": "tensorboard"}, tmp_path, {})


def test_run_id_stays_the_same(tmp_path: Path) -> None:
    assert run_id(tmp_path) == run_id(tmp_path)
    assert re.fullmatch("[0-9a-f]{8}", run_id(tmp_path))


def test_offline_run_has_everything(
    no_settings: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    asked = {"photographs": True, "thumbnails": 4, "checkpoints": True}
    logger = make_logger({"name": "wandb", **asked}, folder, {"loss": {"name": "focal"}})
    assert logger is not None
    lines = capsys.readouterr().err.strip().splitlines()
    assert (
        len(lines) == 1
        and lines[0].startswith("note: wandb: offline")
        and lines[0].endswith(f"WANDB_RESUME=allow wandb sync {folder}/wandb")
    )
    run = logger.experiment
    assert run.config["loss"] == {"name": "focal"}
    logger.log_metrics({"val/qwk": 0.5}, step=3)
    assert run.id == run_id(folder)
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "best.ckpt").write_bytes(b"weights")
    metrics = {"qwk": {"value": 0.5, "low": 0.4, "high": None}, "n": 6, "per_class": {}}
    log_evaluation(logger, some_predictions(tmp_path / "images"), metrics)
    close(logger, folder, RECORD)
    assert not logger.failed, capsys.readouterr().out
    wandb.teardown()  # on a busy machine its process still writes when the run has ended
    [record] = folder.glob("wandb/offline-run-*/*.wandb")
    content = record.read_bytes()
    for part in (b"val/qwk", b"focal", b"test/qwk", b"test/predictions", f"best-{run.id}".encode()):
        assert part in content
    staged = [path.read_bytes() for path in folder.glob("wandb/artifacts/staging/*")]
    assert b"weights" in staged and len(staged) > 4  # the checkpoint, the pictures, the tables
    [table] = folder.glob("wandb/offline-run-*/files/media/table/test/predictions*.json")
    rows = json.loads(table.read_text())["data"]
    assert len(rows) == 4


def staged(folder: Path) -> bytes:
    """Return everything that W&B has in a run folder, also what it would upload later."""
    return b"".join(path.read_bytes() for path in sorted(folder.glob("wandb/**/*")) if path.is_file())


@pytest.mark.parametrize(
    ("asked", "photographs", "checkpoint"),
    [
        ({}, False, False),
        ({"photographs": True}, True, False),
        ({"checkpoints": True}, False, True),
        ({"photographs": True, "checkpoints": True}, True, True),
    ],
)
def test_what_tells_of_patients_leaves_only_when_asked_for(
    tmp_path: Path, asked: dict[str, bool], photographs: bool, checkpoint: bool
) -> None:
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "best.ckpt").write_bytes(b"the weights of the network")
    logger = make_logger({"name": "wandb", **asked}, folder, {})
    predictions = some_predictions(tmp_path / "images")
    predictions.patients[:] = [f"patient-{i}" for i in range(6)]
    metrics = {"qwk": {"value": 0.5, "low": 0.4, "high": None}, "n": 6, "per_class": {}}
    log_evaluation(logger, predictions, metrics)
    assert logger is not None
    close(logger, folder, RECORD)
    wandb.teardown()
    content = staged(folder)
    assert b"test/qwk" in content
    assert (b"patient-3" in content) == photographs and (b"\xff\xd8\xff" in content) == photographs
    assert (b"the weights of the network" in content) == checkpoint
    [note] = sharing_notes({"name": "wandb", **asked})
    assert ("logger.photographs=true" in note) == (not photographs)
    assert ("logger.checkpoints=true" in note) == (not checkpoint)
    assert note.startswith("W&B gets settings and metrics")


def test_without_wandb_there_is_nothing_to_note(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sharing_notes({"name": "none"}) == []
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert sharing_notes({"name": "wandb"}) == []


@pytest.mark.parametrize("key", ["photographs", "checkpoints"])
@pytest.mark.parametrize("value", ["maybe", 1, None])
def test_sharing_is_true_or_false(tmp_path: Path, key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"logger\.{key}=.* must be true or false"):
        sharing_notes({"name": "wandb", key: value})


def test_an_unreachable_server_means_offline_and_one_line(
    no_settings: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    no_settings.setenv("WANDB_API_KEY", KEY)
    no_settings.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # a port that nobody listens on
    logger = make_logger({"name": "wandb", "timeout": 2}, tmp_path / "run", {})
    assert logger is not None
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("warning: wandb: offline, the server was not reached")
    logger.log_metrics({"x": 1.0}, step=0)
    logger.experiment.finish()
    assert not logger.failed


def test_a_failure_later_is_told_once_and_stops_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logger = make_logger({"name": "wandb"}, tmp_path / "run", {})
    assert logger is not None
    logger.experiment.finish()  # logging to a finished run is an error of W&B
    capsys.readouterr()
    logger.log_metrics({"x": 1.0}, step=0)
    logger.log_metrics({"x": 2.0}, step=1)
    assert capsys.readouterr().err.count("wandb: logging stopped") == 1
    assert logger.failed


def test_truth_probability_by_hand(tmp_path: Path) -> None:
    grades = some_predictions(tmp_path)
    expected = [grades.probabilities[i, t] for i, t in enumerate([0, 1, 2, 3, 4, 0])]
    np.testing.assert_allclose(wandb_tables.truth_probability(grades), expected)
    several = Predictions(
        task=ODIR_COURSE,
        ids=["a"],
        paths=["a.png"],
        patients=["a"],
        targets=np.array([[1, 0, 1]]),
        probabilities=np.array([[0.9, 0.3, 0.6]]),
        decision_rule="threshold",
    )
    np.testing.assert_allclose(wandb_tables.truth_probability(several), [0.6])
