"""`retinai export`, and the folder's grades with and without torch beside those of the checkpoint."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from clinic_environment import make_environment

from retinai.errors import UserError
from retinai.runtime import ExportedModel

Command = Callable[..., int]


def export(command: Command, checkpoint: Path, out: Path, *more: str) -> int:
    outputs = checkpoint.parents[2]
    places = [f"paths.outputs={outputs}", f"paths.cache={outputs / 'cache'}", "num_workers=0"]
    return command("export", f"ckpt={checkpoint}", f"out={out}", *places, *more)


@pytest.fixture(scope="session")
def folder(tiny_export: Path) -> Path:
    """The tiny checkpoint for ONNX Runtime."""
    return tiny_export


@pytest.fixture(scope="session")
def photographs(synthetic_aptos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good photographs, a text, an empty file, and a picture without a field of view."""
    photos = tmp_path_factory.mktemp("photographs")
    for path in sorted((synthetic_aptos / "train_images").glob("*.png"))[:10]:
        shutil.copy(path, photos)
    (photos / "a_text.png").write_text("no photograph")
    (photos / "empty.jpg").touch()
    spot = np.zeros((200, 300, 3), np.uint8)
    spot[20:40, 30:60] = 220
    cv2.imwrite(str(photos / "spot.png"), spot)
    return photos


@pytest.fixture(scope="session")
def expected(tiny_checkpoint: Path, photographs: Path, command: Command) -> pd.DataFrame:
    """What the checkpoint says of the photographs."""
    out = photographs.parent / "checkpoint.csv"
    words = [f"ckpt={tiny_checkpoint}", f"images={photographs}", f"out={out}", "accelerator=cpu", "num_workers=0"]
    assert command("predict", *words) == 0
    return pd.read_csv(out, dtype={"id": str})


@pytest.fixture(scope="session")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of an environment that holds what `pip install retinai[runtime]` asks for, and nothing else."""
    return make_environment(tmp_path_factory.mktemp("clinic"), {"runtime"})


def in_the_clinic(python: Path, *words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(cwd)}
    command = [str(python), "-m", "retinai.cli", *map(str, words)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False)


def same_grades(table: pd.DataFrame, expected: pd.DataFrame, tolerance: float = 1e-5) -> None:
    told = ["id", "path", "error"]
    pd.testing.assert_frame_equal(table[told].astype(object), expected[told].astype(object))
    np.testing.assert_allclose(table.filter(like="p_"), expected.filter(like="p_"), atol=tolerance)
    assert table["prediction"].astype("Int64").equals(expected["prediction"].astype("Int64"))


def test_without_torch_the_grades_are_the_same(
    clinic: Path, folder: Path, photographs: Path, expected: pd.DataFrame, tmp_path: Path
) -> None:
    look = "import importlib.util as u; print([n for n in ('torch', 'lightning', 'timm', 'sklearn') if u.find_spec(n)])"
    found = subprocess.run([clinic, "-c", look], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
    for workers in (0, 2):
        out = tmp_path / f"{workers}.csv"
        words = [f"model={folder}", f"images={photographs}", f"out={out}", f"num_workers={workers}", "batch_size=4"]
        done = in_the_clinic(clinic, "predict", *words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "13 photographs, 3 could not be read" in done.stdout
        same_grades(pd.read_csv(out, dtype={"id": str}), expected)
    assert expected.set_index("id").loc["spot", "error"] == "not a retina: no field of view was found"


def test_without_torch_the_other_commands_say_what_to_install(clinic: Path, tmp_path: Path) -> None:
    done = in_the_clinic(clinic, "train", "data=synthetic", cwd=tmp_path)
    assert done.returncode == 2 and 'pip install "retinai[train]"' in done.stderr and len(done.stderr.splitlines()) == 1
    assert in_the_clinic(clinic, "--help", cwd=tmp_path).returncode == 0
    assert "model=FOLDER" in in_the_clinic(clinic, "predict", "--help", cwd=tmp_path).stdout


def test_real_photographs_are_graded_as_by_the_checkpoint(
    idrid_root: Path, folder: Path, tiny_checkpoint: Path, command: Command, tmp_path: Path
) -> None:
    images = sorted((idrid_root / "B. Disease Grading" / "1. Original Images" / "b. Testing Set").glob("*.jpg"))[:6]
    (tmp_path / "photos").mkdir()
    for path in images:
        (tmp_path / "photos" / path.name).symlink_to(path)
    words = [f"images={tmp_path / 'photos'}", "num_workers=0"]
    assert command("predict", f"ckpt={tiny_checkpoint}", f"out={tmp_path / 'a.csv'}", "accelerator=cpu", *words) == 0
    assert command("predict", f"model={folder}", f"out={tmp_path / 'b.csv'}", *words) == 0
    a, b = (pd.read_csv(tmp_path / name) for name in ("a.csv", "b.csv"))
    assert len(a) == 6 and a["error"].isna().all()
    same_grades(b, a)


def test_the_grader_takes_files_and_arrays(folder: Path, photographs: Path, expected: pd.DataFrame) -> None:
    grader = ExportedModel(folder, threads=1)
    assert grader.task.classes[0] == "no_dr" and grader.decision_rule == "argmax"
    table = grader.predict(photographs, workers=0)
    same_grades(table.assign(error=table["error"].replace("", np.nan)), expected)
    good = sorted(photographs.glob("*.png"))[:3]
    arrays = [cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB) for path in good if path.stem != "a_text"]
    from_arrays = grader.predict(arrays)
    from_files = grader.predict([path for path in good if path.stem != "a_text"], workers=0)
    pd.testing.assert_frame_equal(from_arrays.filter(like="p_"), from_files.filter(like="p_"), atol=1e-6)
    for bad, part in [([], "empty"), ([np.zeros((4, 4))], "uint8"), ([arrays[0], good[0]], "mixes")]:
        with pytest.raises(UserError, match=part):
            grader.predict(bad)
    with pytest.raises(UserError, match="threads"):
        ExportedModel(folder, threads=0)
    with pytest.raises(UserError, match="not prepared"):
        grader.probabilities(np.zeros((1, 8, 8, 3), np.uint8))


@pytest.mark.parametrize(("format", "precision", "tolerance"), [("openvino", "bf16", 0.02), ("onnx", "int8", 0.05)])
def test_smaller_precisions(
    format: str, precision: str, tolerance: float, tiny_checkpoint: Path, photographs: Path, expected: pd.DataFrame,
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "folder"
    words = [f"format={format}", f"precision={precision}", "int8_photographs=8", "max_difference=0", "force=true"]
    assert export(command, tiny_checkpoint, out, *words) == 0
    said = capsys.readouterr().out
    assert (
        " at most, " in said and "on average" in said and "qwk: checkpoint" in said and "accuracy: checkpoint" in said
    )
    grader = ExportedModel(out)
    check = grader.folder.facts["check"]
    assert grader.folder.precision == precision and check["checkpoint"]["qwk"] is not None
    assert 0 < check["largest_difference"] < tolerance
    assert "| qwk |" in (out / "card.md").read_text()
    table = grader.predict(photographs, workers=0)
    np.testing.assert_allclose(table.filter(like="p_"), expected.filter(like="p_"), atol=tolerance)


def test_a_refused_export_leaves_nothing(
    tiny_checkpoint: Path, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(command, tiny_checkpoint, tmp_path / "folder", "max_difference=0") == 2
    said = capsys.readouterr().err
    assert "grades otherwise" in said and "limit 0" in said and "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


def test_the_users_faults_are_one_sentence(
    tiny_checkpoint: Path, folder: Path, photographs: Path, command: Command, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    changed = tmp_path / "changed"
    shutil.copytree(folder, changed)
    with (changed / "network.onnx").open("r+b") as stream:
        stream.seek(1000)
        stream.write(b"\0\0\0\0")
    cases = [
        (["format=tf"], "valid: onnx, openvino, hf"),
        (["precision=fp8"], "precision=fp8"),
        (["precision=bf16"], "format=openvino"),
        (["format=hf"], "format=hf does not suit"),
        (["max_drop=-1"], "max_drop=-1"),
        (["int8_photographs=0"], "int8_photographs=0"),
        (["split=predict"], "no labels"),
        (["merge=true"], "merge=true is of format=hf"),
    ]
    for words, part in cases:
        assert export(command, tiny_checkpoint, tmp_path / "new", *words) == 2
        said = capsys.readouterr().err
        assert part in said and "Traceback" not in said, said
    assert export(command, tiny_checkpoint, folder) == 2 and "not empty" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    grades = [f"images={photographs}", f"out={tmp_path / 'p.csv'}"]
    predictions = [
        ([f"model={changed}"], "network.onnx was changed"),
        ([f"model={tmp_path}"], "model.json"),
        ([f"model={folder}", f"ckpt={tiny_checkpoint}"], "either ckpt="),
        ([], "either ckpt="),
        ([f"model={folder}", "accelerator=gpu"], "accelerator=gpu"),
        ([f"model={folder}", "threads=0"], "threads=0"),
        ([f"model={folder}", "format=odir"], "does not fit"),
    ]
    for words, part in predictions:
        assert command("predict", *words, *grades) == 2
        said = capsys.readouterr().err
        assert part in said and "Traceback" not in said, said
    assert not (tmp_path / "p.csv").exists()
