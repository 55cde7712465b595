"""Several checkpoints as one grader, through `evaluate`, `predict` and `export`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from small_network import SMALL_NETWORK

from retinai.modules.checkpoint import store_calibration
from retinai.runtime import ExportedModel

Command = Callable[..., int]
TEMPERATURES = (2.5, 0.6)


@pytest.fixture(scope="module")
def members(tiny_runs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The checkpoints of two folds, each calibrated with a temperature of its own."""
    place = tmp_path_factory.mktemp("members")
    found = []
    for run, temperature in zip(tiny_runs, TEMPERATURES, strict=True):
        folder = place / run.name / "checkpoints"
        folder.mkdir(parents=True)
        shutil.copy(run / "checkpoints" / "best.ckpt", folder)
        fitted = {"temperature": temperature, "scaling": "softmax", "n": 30, "operating_points": {}}
        store_calibration(folder / "best.ckpt", fitted)
        found.append(folder / "best.ckpt")
    return found


@pytest.fixture(scope="module")
def photographs(synthetic_aptos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six photographs and a text."""
    folder = tmp_path_factory.mktemp("photographs")
    for path in sorted((synthetic_aptos / "train_images").glob("*.png"))[:6]:
        shutil.copy(path, folder)
    (folder / "a_text.png").write_text("no photograph")
    return folder


def listed(paths: list[Path]) -> str:
    return f"ckpt=[{','.join(map(str, paths))}]"


def graded(command: Command, photographs: Path, out: Path, *words: str) -> pd.DataFrame:
    place = f"paths.cache={out.parent / 'cache'}"
    more = [place] if words[0].startswith("model=") else ["accelerator=cpu", place]
    assert command("predict", *words, f"images={photographs}", f"out={out}", "num_workers=0", *more) == 0
    return pd.read_csv(out, dtype={"id": str})


def by_hand(tables: list[pd.DataFrame]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, entropy and mutual information of what members say one by one."""
    each = np.stack([table.filter(like="p_").to_numpy() for table in tables])
    mean = each.mean(axis=0)
    whole = scipy.stats.entropy(mean, axis=1)
    return mean, whole, whole - scipy.stats.entropy(each, axis=2).mean(axis=0)


def check_rows(table: pd.DataFrame, tables: list[pd.DataFrame]) -> None:
    good = table["error"].isna()
    mean, whole, information = by_hand([one[good] for one in tables])
    probabilities = table.loc[good].filter(like="p_").to_numpy()
    np.testing.assert_allclose(probabilities, mean, atol=1e-5)
    assert table.loc[good, "prediction"].astype(int).tolist() == mean.argmax(axis=1).tolist()
    np.testing.assert_allclose(table.loc[good, "entropy"], whole, atol=1e-5)
    np.testing.assert_allclose(table.loc[good, "mutual_information"], information, atol=1e-5)
    assert (information > 1e-6).any() and list(table.columns)[-3:] == ["entropy", "mutual_information", "error"]
    assert table.loc[~good, ["entropy", "mutual_information", "prediction"]].isna().all(axis=None)


def test_loose_photographs_get_the_mean_and_the_disagreement(
    members: list[Path], photographs: Path, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = [graded(command, photographs, tmp_path / f"{i}.csv", f"ckpt={path}") for i, path in enumerate(members)]
    capsys.readouterr()
    table = graded(command, photographs, tmp_path / "both.csv", listed(members))
    assert "2 checkpoints answer as one" in capsys.readouterr().err
    check_rows(table, alone)
    one = graded(command, photographs, tmp_path / "one.csv", listed(members[:1]))
    pd.testing.assert_frame_equal(one, alone[0])


@pytest.mark.parametrize("format", ["onnx", "openvino"])
def test_one_folder_holds_all_networks(
    format: str, members: list[Path], photographs: Path, synthetic_idrid: Path, command: Command, tmp_path: Path
) -> None:
    out = tmp_path / "folder"
    data = ["data=idrid", f"data.root={synthetic_idrid}", f"paths.cache={tmp_path / 'cache'}", "num_workers=0"]
    assert command("export", listed(members), f"out={out}", f"format={format}", *data) == 0
    alone = [graded(command, photographs, tmp_path / f"{i}.csv", f"ckpt={path}") for i, path in enumerate(members)]
    check_rows(graded(command, photographs, tmp_path / "folder.csv", f"model={out}"), alone)
    facts = ExportedModel(out).folder.facts
    assert [one["temperature"] for one in facts["members"]] == list(TEMPERATURES) and facts["calibration"][
        "temperature"
    ] == 1
    assert facts["check"]["largest_difference"] < 1e-4
    assert "mean of 2 networks" in (out / "card.md").read_text()


def test_a_part_that_no_member_was_trained_on_is_measured(
    members: list[Path], synthetic_idrid: Path, command: Command, tmp_path: Path
) -> None:
    data = ["data=idrid", f"data.root={synthetic_idrid}", f"paths.cache={tmp_path / 'cache'}", "num_workers=0"]
    words = [*data, "accelerator=cpu", f"paths.outputs={tmp_path / 'outputs'}"]
    tables = []
    for name, ckpt in (("a", f"ckpt={members[0]}"), ("b", f"ckpt={members[1]}")):
        assert command("evaluate", ckpt, *words, f"run_dir={tmp_path / name}") == 0
        tables.append(pd.read_csv(tmp_path / name / "predictions.csv"))
    assert command("evaluate", listed(members), *words) == 0
    (found,) = (tmp_path / "outputs" / "ensembles" / "evaluation").iterdir()
    table = pd.read_csv(found / "predictions.csv")
    mean, whole, information = by_hand(tables)
    np.testing.assert_allclose(table.filter(like="p_"), mean, atol=1e-6)
    np.testing.assert_allclose(table["entropy"], whole, atol=1e-6)
    np.testing.assert_allclose(table["mutual_information"], information, atol=1e-6)
    told = json.loads((found / "metrics.json").read_text())["uncertainty"]
    wrong = (table["target"] != table["prediction"]).to_numpy()[np.argsort(whole, kind="stable")]
    risks = np.cumsum(wrong) / np.arange(1, len(wrong) + 1)
    assert told["error_rate"]["value"] == pytest.approx(wrong.mean())
    assert told["entropy"]["aurc"]["value"] == pytest.approx(risks.mean(), abs=1e-6)
    assert told["entropy"]["accuracy_of_80_percent"]["value"] == pytest.approx(1 - risks[int(0.8 * len(wrong)) - 1])
    record = json.loads((found / "evaluation.json").read_text())
    assert record["checkpoint"] == [str(path) for path in members] and record["backbone"].endswith(" x 2")


def test_a_split_is_followed_as_far_as_no_member_was_trained(
    tiny_runs: list[Path], members: list[Path], synthetic_aptos: Path, command: Command, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    splits = [pd.read_csv(run / "split.csv", dtype=str).set_index("id")["split"] for run in tiny_runs]
    seen = (splits[0] == "train") | (splits[1] == "train")
    place = [f"paths.cache={tmp_path / 'cache'}", f"run_dir={tmp_path / 'out'}", "num_workers=0", "accelerator=cpu"]
    # Two folds of two: whatever one is tested on, the other was trained or chosen on.
    assert command("evaluate", listed(members), *place) == 2
    said = capsys.readouterr().err
    assert "no photographs in split 'test'" in said and "checkpoints of one split" in said
    assert not (tmp_path / "out").exists()
    assert command("evaluate", listed(members), "split=train", *place) == 0
    assert set(pd.read_csv(tmp_path / "out" / "predictions.csv", dtype={"id": str})["id"]) == set(seen[seen].index)
    capsys.readouterr()
    shutil.copy(tiny_runs[0] / "split.csv", tmp_path / "split.csv")
    followed = f"data.split_file={tmp_path / 'split.csv'}"
    data = ["data=aptos", f"data.root={synthetic_aptos}", followed]
    assert command("evaluate", listed(members), *data, *place, "overwrite=true") == 0
    said = capsys.readouterr().err
    tested = int((splits[0] == "test").sum())
    assert f"{tested} of the {tested} photographs of this part were trained or chosen on" in " ".join(said.split())


@pytest.fixture(scope="module")
def strangers(
    members: list[Path], synthetic_aptos: Path, synthetic_odir_course: Path, command: Command,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Path]:  # fmt: skip
    """Checkpoints that do not go with the members."""
    place = tmp_path_factory.mktemp("strangers")
    common = ["data.num_workers=0", *SMALL_NETWORK, "trainer=cpu", "trainer.max_epochs=1", "logger=none", "test=false",
              f"paths.cache={place / 'cache'}"]  # fmt: skip
    aptos = ["data=aptos", f"data.root={synthetic_aptos}"]
    others = {
        "larger": [*aptos, "backbone.input_size=48"],
        "ordinal": [*aptos, "backbone.input_size=32", "loss=corn"],
        "diseases": ["data=odir", f"data.root={synthetic_odir_course}", "loss=bce", "backbone.input_size=32"],
    }
    for name, words in others.items():
        assert command("train", *words, *common, f"run_dir={place / name}") == 0
    shutil.copy(members[0], place / "copy.ckpt")
    return {**{name: place / name / "checkpoints" / "best.ckpt" for name in others}, "copy": place / "copy.ckpt"}


@pytest.mark.parametrize(
    ("other", "part"),
    [
        ("larger", "input_size=48"),
        ("ordinal", "decision_rule=median"),
        ("diseases", "must be of one task"),
        ("copy", "names the same checkpoint twice"),
    ],
)
def test_what_does_not_go_together_is_one_sentence(
    other: str, part: str, strangers: dict[str, Path], members: list[Path], photographs: Path, command: Command,
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    ckpt, out = listed([members[0], strangers[other]]), tmp_path / "out"
    commands = [
        ["predict", f"images={photographs}", f"out={out}.csv"],
        ["evaluate", f"run_dir={out}"],
        ["export", f"out={out}"],
    ]
    for words in commands:
        assert command(*words, ckpt) == 2, words
        said = capsys.readouterr().err
        assert part in said and "Traceback" not in said and len(said.strip().splitlines()) == 1, said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["export", "precision=int8"], "not for several checkpoints"),
        (["export", "ckpt=[]"], "ckpt"),
        (["evaluate", "ckpt=[nowhere.ckpt,other.ckpt]"], "nowhere.ckpt does not exist"),
        (["stress"], "ckpt"),
        (["explain"], "ckpt"),
    ],
)
def test_commands_say_what_they_do_not_take(
    words: list[str], part: str, members: list[Path], command: Command, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    ckpt = [] if any(word.startswith("ckpt=") for word in words) else [listed(members)]
    place = f"out={tmp_path / 'out'}" if words[0] == "export" else f"run_dir={tmp_path / 'out'}"
    assert command(*words, *ckpt, place) == 2
    said = capsys.readouterr().err
    assert part in said and "Traceback" not in said
    assert not list(tmp_path.iterdir())
