"""Operating points and sets of several checkpoints: chosen on photographs that they were not trained on, then used."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import recall_score

from retinai.data.photographs.normalise import normalise
from retinai.modules.checkpoint import store_calibration, store_metadata
from retinai.modules.load import load_module
from retinai.prediction.outside import OUTSIDE, fit_outside
from retinai.prediction.reading import read_one
from retinai.runtime import ExportedModel

Command = Callable[..., int]
TEMPERATURES = (2.5, 0.6)


@pytest.fixture(scope="module")
def members(tiny_runs: list[Path], synthetic_aptos: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The checkpoints of two folds, each with a temperature of its own, and what photographs look like to it."""
    place, found = tmp_path_factory.mktemp("members"), []
    paths = sorted((synthetic_aptos / "train_images").glob("*.png"))
    for run, temperature in zip(tiny_runs, TEMPERATURES, strict=True):
        file = Path(shutil.copy(run / "checkpoints" / "best.ckpt", place / f"{run.name}.ckpt"))
        module = load_module(file).eval()
        pixels = [read_one(module.preprocessing, [], (0, str(path))).pixels for path in paths]
        with torch.no_grad():
            features = module.network.pooled(
                torch.from_numpy(normalise(np.stack(pixels), module.preprocessing))
            ).numpy()
        store_calibration(file, {"temperature": temperature, "scaling": "softmax", "n": 30, "operating_points": {}})
        known, _ = fit_outside(features[:40], features[40:])
        assert known is not None
        store_metadata(file, OUTSIDE, known.to_dict())
        found.append(file)
    return found


def listed(paths: list[Path]) -> str:
    return f"ckpt=[{','.join(map(str, paths))}]"


def held_out(command: Command, members: list[Path], place: Path) -> pd.DataFrame:
    """What each fold's network says of the photographs that it was held out from."""
    tables = []
    for number, path in enumerate(members):
        words = ["num_workers=0", "accelerator=cpu", f"paths.cache={place / 'cache'}", f"run_dir={place / str(number)}"]
        assert command("evaluate", f"ckpt={path}", *words) == 0
        tables.append(pd.read_csv(place / str(number) / "predictions.csv", dtype={"id": str}))
    return pd.concat(tables, ignore_index=True)


def quantile_by_hand(table: pd.DataFrame, level: float = 0.9) -> float:
    """The score of the true grade, grown from the most probable one, photograph by photograph."""
    scores = []
    for row, target in zip(table.filter(like="p_").to_numpy(), table["target"], strict=True):
        low = high = int(row.argmax())
        while not low <= target <= high:
            below = row[low - 1] if low > 0 else -1
            above = row[high + 1] if high < len(row) - 1 else -1
            low, high = (low, high + 1) if above >= below else (low - 1, high)
        scores.append(row[low : high + 1].sum())
    return sorted(scores)[int(np.ceil((len(scores) + 1) * level)) - 1]


@pytest.fixture(scope="module")
def folder(
    members: list[Path], synthetic_idrid: Path, command: Command, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Both networks in one folder, compared on photographs of another data set."""
    place = tmp_path_factory.mktemp("both")
    data = ["data=idrid", f"data.root={synthetic_idrid}", f"paths.cache={place / 'cache'}", "num_workers=0"]
    assert command("export", listed(members), f"out={place / 'folder'}", *data) == 0
    return place / "folder"


def test_every_photograph_counts_as_the_network_grades_it_that_never_saw_it(
    members: list[Path], folder: Path, command: Command, tmp_path: Path
) -> None:
    table = held_out(command, members, tmp_path)
    calibration = ExportedModel(folder).calibration
    assert calibration is not None and calibration["temperature"] == 1
    assert calibration["n"] == len(table) == table["id"].nunique() and len(table) > 50
    assert calibration["pooled"] == {"networks": 2, "asked": [1, 1], "answers": 1}
    assert calibration["sets"]["quantile"] == pytest.approx(quantile_by_hand(table), abs=1e-6)
    score = table.filter(like="p_").to_numpy()[:, 2:].sum(axis=1)
    for name in ("sensitivity_90", "youden"):
        point = calibration["operating_points"][name]
        found = recall_score(table["target"] >= 2, score >= point["threshold"])
        assert point["sensitivity"] == pytest.approx(found)
    assert "held-out training photographs" in (folder / "card.md").read_text()


def test_checkpoints_and_folder_give_the_same_sets_and_the_report_says_what_held(
    members: list[Path], folder: Path, synthetic_idrid: Path, command: Command, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    data = ["data=idrid", f"data.root={synthetic_idrid}", f"paths.cache={tmp_path / 'cache'}", "num_workers=0"]
    assert command("evaluate", listed(members), *data, "accelerator=cpu", f"run_dir={tmp_path / 'out'}") == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "each graded by those of the 2 networks that were not trained on it (1)" in said
    tested = pd.read_csv(tmp_path / "out" / "predictions.csv").set_index("path")
    results = json.loads((tmp_path / "out" / "metrics.json").read_text())["calibration"]
    words = [f"images={Path(tested.index[0]).parent}", f"out={tmp_path / 'grades.csv'}", "num_workers=0"]
    for chosen in ([listed(members), "accelerator=cpu", f"paths.cache={tmp_path / 'cache'}"], [f"model={folder}"]):
        assert command("predict", *chosen, *words, "overwrite=true") == 0
        table = pd.read_csv(tmp_path / "grades.csv").set_index("path").loc[tested.index]
        names = [name.removeprefix("p_") for name in table.filter(like="p_").columns]
        pairs = zip(tested["target"], table["set_90"].str.split("|"), strict=True)
        assert results["sets"]["coverage"]["value"] == pytest.approx(np.mean([names[t] in found for t, found in pairs]))
    assert results["pooled"]["networks"] == 2 and set(results["operating_points"]) >= {"sensitivity_90"}
    report = (tmp_path / "out" / "report.html").read_text()
    assert "mean of 2 networks" in report and "90% of them were promised" in report


def test_networks_of_one_split_are_all_asked_about_its_validation_part(
    tiny_runs: list[Path], members: list[Path], synthetic_idrid: Path, command: Command, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    twins = [members[0], tmp_path / "twin.ckpt"]
    shutil.copy(members[1], twins[1])
    store_metadata(twins[1], "split", torch.load(members[0], weights_only=True)["retinai"]["split"])
    parts = pd.read_csv(tiny_runs[0] / "split.csv")["split"]
    place = [f"paths.cache={tmp_path / 'cache'}", f"run_dir={tmp_path / 'out'}", "num_workers=0", "accelerator=cpu"]
    assert command("evaluate", listed(twins), *place) == 0
    said, count = " ".join(capsys.readouterr().err.split()), int((parts == "val").sum())
    if count < 20:
        assert f"there are only {count} photographs (fewer than 20)" in said
    else:
        assert f"chosen on {count} photographs of the training" in said and "not trained on it (2)" in said


def test_without_the_photographs_of_the_training_a_note_says_so(
    members: list[Path], synthetic_aptos: Path, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = [tmp_path / path.name for path in members]
    for old, new in zip(members, moved, strict=True):
        shutil.copy(old, new)
        section = torch.load(old, weights_only=True)["retinai"]["data"]
        store_metadata(new, "data", {**section, "root": str(tmp_path / "elsewhere")})
    photograph = sorted((synthetic_aptos / "train_images").glob("*.png"))[0]
    words = [f"images={photograph}", "num_workers=0", "accelerator=cpu", f"paths.cache={tmp_path / 'cache'}"]
    grade = ["predict", listed(moved), *words, "overwrite=true", f"out={tmp_path / 'out.csv'}"]
    assert command(*grade) == 0
    assert "no operating points and no sets: the photographs of the training cannot be used" in " ".join(
        capsys.readouterr().err.split()
    )
    assert "set_90" not in pd.read_csv(tmp_path / "out.csv")
    assert command(*grade, "data=aptos", f"data.root={synthetic_aptos}") == 0
    assert "set_90" in pd.read_csv(tmp_path / "out.csv")
    assert command(*grade, "calibrate=false") == 0
    assert "set_90" not in pd.read_csv(tmp_path / "out.csv") and "no sets" not in capsys.readouterr().err
    assert command(*grade, f"ckpt={members[0]}", "data=aptos", f"data.root={synthetic_aptos}") == 2
    assert "leave it out" in capsys.readouterr().err


def test_the_distance_of_several_is_the_mean_of_theirs_in_units_of_their_own_limit(
    members: list[Path], folder: Path, synthetic_idrid: Path, command: Command, tmp_path: Path
) -> None:
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    for path in sorted((synthetic_idrid / "B. Disease Grading").rglob("*.jpg"))[:6]:
        shutil.copy(path, photographs)
    words = [f"images={photographs}", "num_workers=0", f"paths.cache={tmp_path / 'cache'}"]
    tables = []
    for name, chosen in (
        ("a", [f"ckpt={members[0]}", "accelerator=cpu"]),
        ("b", [f"ckpt={members[1]}", "accelerator=cpu"]),
        ("both", [listed(members), "accelerator=cpu"]),
        ("folder", [f"model={folder}"]),
    ):
        assert command("predict", *chosen, *words, f"out={tmp_path / name}.csv") == 0
        tables.append(pd.read_csv(tmp_path / f"{name}.csv")["distance"].to_numpy())
    out_of_fold = held_out(command, members, tmp_path)["distance"].sort_values().to_numpy()
    limit = out_of_fold[int(np.ceil((len(out_of_fold) + 1) * 0.95)) - 1]
    np.testing.assert_allclose(tables[2], (tables[0] + tables[1]) / 2 / limit, rtol=1e-4)
    np.testing.assert_allclose(tables[3], tables[2], rtol=1e-3)
