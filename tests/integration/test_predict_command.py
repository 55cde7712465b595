"""`retinai predict` on folders and patterns, good and bad files."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

Command = Callable[..., int]


def predict(command: Command, checkpoint: Path, images: Path | str, out: Path, *more: str) -> int:
    words = [f"ckpt={checkpoint}", f"images='{images}'", f"out={out}", "accelerator=cpu", "num_workers=0", *more]
    return command("predict", *words)


def test_every_file_gets_a_row_and_batches_do_not_matter(
    tiny_runs: list[Path], tiny_checkpoint: Path, synthetic_aptos: Path, command: Command, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(synthetic_aptos / "train_images", photos)
    (photos / "a_text.png").write_text("no photograph")
    (photos / "deeper").mkdir()
    (photos / "deeper" / "empty.jpg").touch()
    assert predict(command, tiny_checkpoint, photos, tmp_path / "one.csv", "batch_size=64") == 0
    assert predict(command, tiny_checkpoint, photos, tmp_path / "two.csv", "batch_size=7") == 0
    one, two = (pd.read_csv(tmp_path / name, dtype={"id": str}) for name in ("one.csv", "two.csv"))
    pd.testing.assert_frame_equal(one, two, atol=1e-5)
    assert list(one.columns) == [
        "id", "path", "prediction", "p_no_dr", "p_mild", "p_moderate", "p_severe", "p_proliferative", "error",
    ]  # fmt: skip
    assert one["path"].tolist() == sorted(one["path"]) and len(one) == 62
    bad = one[one["error"].notna()].set_index("id")
    assert set(bad.index) == {"a_text", "empty"} and bad["prediction"].isna().all()
    assert bad.loc["empty", "error"] == "empty file"
    # The same probabilities as the test of the training run.
    tested = pd.read_csv(tiny_runs[0] / "predictions.csv", dtype={"id": str}).set_index("id")
    mine = one.set_index("id").loc[tested.index]
    np.testing.assert_allclose(mine.filter(like="p_"), tested.filter(like="p_"), atol=1e-5)
    assert (mine["prediction"].astype(int) == tested["prediction"]).all()


def test_the_test_set_of_aptos_becomes_kaggles_file(
    tiny_checkpoint: Path, synthetic_aptos: Path, command: Command, tmp_path: Path
) -> None:
    assert predict(command, tiny_checkpoint, synthetic_aptos / "test_images", tmp_path / "kaggle.csv") == 0
    table = pd.read_csv(tmp_path / "kaggle.csv")
    assert list(table.columns) == ["id_code", "diagnosis"]
    assert table["id_code"].tolist() == pd.read_csv(synthetic_aptos / "test.csv")["id_code"].tolist()
    assert table["diagnosis"].isin(range(5)).all()


def test_a_pattern_chooses_files(
    tiny_checkpoint: Path, synthetic_aptos: Path, command: Command, tmp_path: Path
) -> None:
    pattern = synthetic_aptos / "test_images" / "[0-7]*.png"
    assert predict(command, tiny_checkpoint, pattern, tmp_path / "some.csv") == 0
    names = {p.stem for p in (synthetic_aptos / "test_images").glob("[0-7]*.png")}
    assert set(pd.read_csv(tmp_path / "some.csv", dtype={"id": str})["id"]) == names


def test_the_users_faults_are_one_sentence(
    tiny_checkpoint: Path, synthetic_aptos: Path, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, out = synthetic_aptos / "train_images", tmp_path / "p.csv"
    (tmp_path / "void").mkdir()
    cases = [
        (tmp_path / "void", out, [], "no photographs"),
        (tmp_path / "void" / "*.png", out, [], "no file matches"),
        (photos, tmp_path / "p.txt", [], ".csv"),
        (photos, out, ["format=course"], "does not fit"),
        (photos, out, ["format=xml"], "valid: auto"),
        (photos, out, ["batch_size=0"], "batch_size"),
    ]
    for images, target, more, part in cases:
        assert predict(command, tiny_checkpoint, images, target, *more) == 2
        said = capsys.readouterr().err
        assert part in said and "Traceback" not in said, said
    assert not out.exists()
