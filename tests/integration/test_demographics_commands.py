"""Age and sex beside the photograph, through the commands: learned from the table, unknown where it says nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pandas as pd
import pytest
import torch
from small_network import SMALL_NETWORK
from tiny_trees import PREPROCESSING

from retinai.data.loading.fields import FieldContext
from retinai.data.sources.odir import OdirDataModule
from retinai.data.sources.table import TableSource
from retinai.demographics.field import DemographicsField
from retinai.errors import DataError
from retinai.modules.load import load_module

Command = Callable[..., int]
WORDS = {"female": ["female", "f"], "male": ["male", "m"]}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ages")


@pytest.fixture(scope="module")
def cohort(synthetic_odir: Path, place: Path) -> Path:
    """A drawn ODIR, of whose first patient the age is unknown and of whose second the sex."""
    root = Path(shutil.copytree(synthetic_odir, place / "cohort"))
    book = openpyxl.load_workbook(workbook(root))
    sheet: Any = book.active
    sheet.cell(2, 2).value, sheet.cell(3, 3).value = None, None
    book.save(workbook(root))
    return root


def workbook(root: Path) -> Path:
    return next(root.glob("*.xlsx"))


def words_for(cohort: Path, place: Path) -> list[str]:
    return [
        "data=odir", f"data.root={cohort}", "loss=bce", *SMALL_NETWORK, "backbone.input_size=32", "data.num_workers=0",
        "trainer=cpu", "trainer.max_epochs=1", "logger=none", f"paths.cache={place / 'cache'}",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def run(cohort: Path, command: Command, place: Path) -> Path:
    words = [*words_for(cohort, place), "demographics=age_sex", "demographics.width=5"]
    assert command("train", *words, f"run_dir={place / 'run'}") == 0
    return place / "run"


def test_the_field_says_what_the_table_says(cohort: Path, place: Path) -> None:
    options: dict[str, Any] = {"num_workers": 0, "batch_size": 1, "preprocessing": PREPROCESSING}
    data = OdirDataModule(root=str(cohort), cache=place / "cache", **options)
    data.use_fields([DemographicsField("age", "sex", **WORDS)])
    rows = {}
    for split in ("train", "val", "test", "predict"):
        for batch in data.loader(split):
            rows |= dict(zip(batch["id"], batch["demographics"].numpy(), strict=True))
    table = pd.read_excel(workbook(cohort))
    ages, sexes = 0, 0
    for row in table.itertuples():
        for eye in ("left", "right"):
            if (found := rows.get(f"{row.ID}_{eye}")) is None:
                continue  # an eye without a fundus
            known = not np.isnan(row[2])
            expected = [(row[2] - 55) / 15 if known else 0, known, row[3] == "Female", row[3] == "Male"]
            np.testing.assert_allclose(found, np.array(expected, np.float32), rtol=1e-6)
            ages, sexes = ages + (not known), sexes + (found[2:].sum() == 0)
    assert ages > 0 and sexes > 0
    assert all(not rows[name].any() for name in rows if int(name.split("_")[0]) > table["ID"].astype(int).max())


def test_age_and_sex_reach_the_answer_and_evaluation_brings_them(run: Path, command: Command, place: Path) -> None:
    checkpoint = run / "checkpoints" / "best.ckpt"
    module = load_module(checkpoint)
    network: Any = module.network
    assert network.head.in_features == network.encoder.num_features + 5
    images = torch.zeros(1, 3, 32, 32)
    with torch.no_grad():
        young, old, unknown = (module(images, torch.tensor([v])) for v in
                               ([-2.0, 1, 1, 0], [2.0, 1, 0, 1], [0.0, 0, 0, 0]))  # fmt: skip
    assert not torch.equal(young, old) and unknown.isfinite().all()
    out = place / "out"
    words = [f"ckpt={checkpoint}", f"run_dir={out}", "accelerator=cpu", "num_workers=0",
             f"paths.cache={place / 'cache'}", "logger=none"]  # fmt: skip
    assert command("evaluate", *words) == 0
    assert (out / "predictions.csv").read_text() == (run / "predictions.csv").read_text()


def test_hidden_rows_are_those_of_unknown_patients(run: Path) -> None:
    branch: Any = load_module(run / "checkpoints" / "best.ckpt").network.branches["demographics"]
    branch.hidden = 1.0
    features, values = torch.randn(3, 7), torch.tensor([[1.0, 1, 1, 0]] * 3)
    torch.testing.assert_close(branch.train()(features, values), branch.eval()(features, torch.zeros(3, 4)))
    assert not torch.equal(branch.eval()(features, values), branch(features, torch.zeros(3, 4)))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("data=aptos", "loss=cross_entropy"), "data=aptos has no column 'age' and no 'sex'"),
        (("demographics.age=Age",), "has no column 'Age'"),
        (("demographics.female=[f]",), "'Female', which is neither of demographics.female=['f']"),
        (("demographics.male=[female]",), "both hold female; leave it in one"),
        (("demographics.hidden=2",), "demographics.hidden=2"),
        (("demographics.agee=age",), "agee"),
    ],
)
def test_what_no_table_tells_is_refused(
    given: tuple[str, ...], told: str, cohort: Path, synthetic_aptos: Path, command: Command, place: Path,
    tmp_path: Path, capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    root = [f"data.root={synthetic_aptos}"] if given[0] == "data=aptos" else []
    plus = [f"+{word}" if "agee" in word else word for word in given]
    words = [*words_for(cohort, place), "demographics=age_sex", *plus, *root, f"run_dir={tmp_path / 'run'}"]
    assert command("train", *words) == 2
    said = " ".join(capfd.readouterr().err.split())
    assert told in said and not (tmp_path / "run").exists()


@pytest.mark.parametrize("value", ["old", -3, 121])
def test_ages_that_are_none_are_refused(value: object, tmp_path: Path) -> None:
    context = table_with(tmp_path / "table.csv", f"{value},F", "60,M")
    with pytest.raises(DataError, match="holds the age in years, 0 to 120, or nothing"):
        DemographicsField(**WORDS).bind(context)


def table_with(file: Path, *people: str) -> FieldContext:
    """Return a data set of two photographs, a line `age,sex` for each."""
    rows = [f"{name},{name}.png,{target},{told}" for target, (name, told) in enumerate(zip("ab", people, strict=True))]
    file.write_text("\n".join(["id,path,target,age,sex", *rows]))
    source = TableSource(file=str(file))
    return FieldContext(source, pd.DataFrame({"id": ["a", "b"]}), PREPROCESSING, file.parent)


def test_columns_without_a_value_are_told(tmp_path: Path) -> None:
    one = table_with(tmp_path / "one.csv", ",F", ",M")
    DemographicsField(**WORDS).bind(one)
    assert one.source.notes == ["column 'age' is empty for every photograph: nothing is learned from it"]
    with pytest.raises(DataError, match="columns 'age' and 'sex' say nothing of any photograph"):
        DemographicsField(**WORDS).bind(table_with(tmp_path / "none.csv", ",", ","))


@pytest.mark.parametrize("what", ["predict", "export"])
def test_loose_files_and_export_are_refused(
    what: str, run: Path, cohort: Path, command: Command, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = {
        "predict": [f"images={cohort / 'Training Images'}", f"out={tmp_path / 'p.csv'}"],
        "export": ["format=onnx", f"out={tmp_path / 'folder'}", "logger=none"],
    }[what]
    assert command(what, f"ckpt={run / 'checkpoints' / 'best.ckpt'}", *words) == 2
    assert "only the table of a data set tells" in " ".join(capfd.readouterr().err.split())
    assert not any(tmp_path.iterdir())
