"""Quality through the commands: what prepare tells, what training leaves out, what an evaluation says by quality."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import pandas as pd
import pytest
from small_network import SMALL_NETWORK

from retinai.data.photographs.images import read_photograph
from retinai.quality.degradations import degrade
from retinai.quality.files import STORE

Command = Callable[..., int]
# Part, number of photographs, and those of them that are blurred beyond use.
PARTS = {"train": (8, 2), "val": (2, 0), "test": (4, 1)}


@pytest.fixture(scope="module")
def photographs(idrid_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of real photographs, 900 pixels wide, some of them blurred."""
    folder = tmp_path_factory.mktemp("photographs")
    files = iter(sorted((idrid_root / "B. Disease Grading/1. Original Images/b. Testing Set").glob("*.jpg")))
    rows = []
    for part, (count, blurred) in PARTS.items():
        for number in range(count):
            image = cv2.resize(read_photograph(next(files)), (900, 598), interpolation=cv2.INTER_AREA)
            image = degrade(image, "defocus", 5 if number < blurred else 0)
            name = f"{part}{number}"
            cv2.imwrite(str(folder / f"{name}.png"), image[:, :, ::-1])
            rows.append({"id": name, "path": f"{name}.png", "target": number % 2, "split": part})
    pd.DataFrame(rows).to_csv(folder / "table.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def words(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    cache = tmp_path_factory.mktemp("quality") / "cache"
    return ["data=table", f"data.file={photographs / 'table.csv'}", "data.num_workers=0", f"paths.cache={cache}"]


@pytest.fixture(scope="module")
def trained(words: list[str], command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("trained") / "run"
    more = [*SMALL_NETWORK, "backbone.input_size=32", "trainer=cpu", "trainer.max_epochs=1", "logger=none"]
    assert command("train", *words, *more, "data.quality=usable", f"run_dir={run}") == 0
    return run


def test_prepare_tells_the_quality_of_every_photograph(
    words: list[str], command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = [f"run_dir={tmp_path / 'found'}", "backbone.input_size=32"]
    assert command("prepare", *words, *place, "workers=1") == 0
    table = pd.read_csv(tmp_path / "found" / "quality.csv", keep_default_na=False).set_index("id")
    blurred = {"train0", "train1", "test0"}
    assert set(table.index[:3]) == blurred and set(table.index[table["quality"] == "reject"]) == blurred
    assert (table.loc[["train0", "train1"], "quality_reason"] == "out of focus").all() and len(table) == 14
    assert "3 reject (quality.csv" in " ".join(capsys.readouterr().out.split())
    cache = Path(words[-1].removeprefix("paths.cache="))
    judged = (cache / STORE).read_bytes()
    assert command("prepare", *words, *place, "quality=false") == 0  # replaces the findings, judges nothing
    assert command("prepare", *words, *place) == 0
    assert (cache / STORE).read_bytes() == judged


def test_training_leaves_bad_photographs_out_and_says_which(trained: Path) -> None:
    split = pd.read_csv(trained / "split.csv", dtype=str, keep_default_na=False).set_index("id")
    out = split[split["split"] == "left_out"]
    assert sorted(out.index) == ["train0", "train1"] and (out["note"] == "quality reject: out of focus").all()
    assert split.loc["test0", "split"] == "test"  # results stay comparable
    told = "data.quality=usable leaves 2 of 8 training photographs out (reject, out of focus: 2)"
    assert told in (trained / "report.html").read_text()


def test_an_evaluation_follows_and_tells_by_quality(
    trained: Path, words: list[str], command: Command, tmp_path: Path
) -> None:
    checkpoint = f"ckpt={trained / 'checkpoints' / 'best.ckpt'}"
    more = ["quality=true", words[-1], "num_workers=0", "accelerator=cpu", f"run_dir={tmp_path / 'out'}"]
    assert command("evaluate", checkpoint, *more) == 0
    table = pd.read_csv(tmp_path / "out" / "predictions.csv", keep_default_na=False).set_index("id")
    assert len(table) == 4 and table.loc["test0", "quality"] == "reject" and table.loc["test0", "quality_reason"]
    groups = json.loads((tmp_path / "out" / "metrics.json").read_text())["by_quality"]["groups"]
    assert groups["reject"]["n"] == 1 and sum(groups[name]["n"] for name in ("good", "usable", "reject")) == 4
    kept = table[table["quality"] != "reject"]
    right = (kept["target"] == kept["prediction"]).groupby(kept["quality"]).mean()
    for name, share in right.items():
        assert groups[name]["accuracy"]["value"] == pytest.approx(share)
    assert "by the verdict on their quality" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize(
    ("key", "part"),
    [("data.quality=best", "data.quality=best"), ("data.quality=true", "data.quality=True")],
)
def test_other_words_are_refused(
    key: str, part: str, words: list[str], command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("train", *words, key, f"run_dir={tmp_path / 'run'}") == 2
    said = capsys.readouterr().err
    assert "data.quality" in said and "good" in said and "Traceback" not in said
    assert not (tmp_path / "run").exists()
