from __future__ import annotations

import pytest

from retinai.errors import ConfigError, UserError
from retinai.lesions.fields import FindingsField, findings_of
from retinai.synthetic import cohort
from retinai.synthetic.datamodule import SyntheticDataModule, cohort_folder

PREPROCESSING = {"input_size": 32, "mean": [0.5] * 3, "std": [0.5] * 3}


def build(cache, **options) -> SyntheticDataModule:
    options = {"n": 40, "size": 64, "batch_size": 8, "preprocessing": PREPROCESSING} | options
    return SyntheticDataModule(cache=cache, **options)


def test_cohort_is_written_once_and_read_like_aptos(tmp_path, monkeypatch):
    data = build(tmp_path)
    data.setup()
    assert data.task.name == "dr_grade" and {"train", "val", "test", "predict"} == set(data.table["split"])
    assert next(iter(data.loader("train")))["image"].shape == (8, 3, 32, 32)
    (folder,) = (tmp_path / "synthetic").iterdir()
    assert data.table["path"].str.startswith(str(folder)).all()

    monkeypatch.setattr(cohort, "write_cohort", lambda *a, **k: pytest.fail("the cohort was written again"))
    again = build(tmp_path, seed=1)
    again.setup()
    assert again.table["split"].tolist() != data.table["split"].tolist()


def test_settings_have_folders_of_their_own(tmp_path):
    folders = {cohort_folder(tmp_path, "aptos", n, 64, seed) for n, seed in ((10, 0), (11, 0), (10, 1))}
    assert len(folders) == 3


def test_what_stands_in_the_place_of_a_cohort_is_named(tmp_path):
    place = tmp_path / "synthetic" / cohort_folder(tmp_path / "elsewhere", "aptos", 10, 64, 0).name
    place.parent.mkdir()
    place.write_text("mine")
    with pytest.raises(UserError, match="is no folder, so that no cohort can be drawn there; remove it"):
        cohort_folder(tmp_path, "aptos", 10, 64, 0)
    assert place.read_text() == "mine"


def test_a_job_that_was_first_wins(tmp_path, monkeypatch):
    draw = cohort._draw

    def slower(shots, folder, *more):
        """Another job writes the same cohort while this one draws."""
        facts = draw(shots, folder, *more)
        first.mkdir()
        (first / "first").touch()
        return facts

    first = tmp_path / "synthetic" / cohort_folder(tmp_path / "elsewhere", "aptos", 10, 64, 0).name
    monkeypatch.setattr(cohort, "_draw", slower)
    assert cohort_folder(tmp_path, "aptos", 10, 64, 0) == first
    assert [path.name for path in first.iterdir()] == ["first"] and list(first.parent.iterdir()) == [first]


@pytest.mark.parametrize(("layout", "task"), [("idrid", "dr_grade"), ("odir", "odir"), ("odir_course", "odir_course")])
def test_other_layouts(request, tmp_path, layout, task):
    data = build(tmp_path, layout=layout, root=str(request.getfixturevalue(f"synthetic_{layout}")), limit=4)
    data.setup()
    assert data.task.name == task and (data.table["split"] == "train").sum() == 4
    with pytest.raises(ConfigError, match="odir_kaggle"):
        build(tmp_path, layout="messidor")


@pytest.mark.parametrize("layout", ["idrid", "aptos"])
def test_findings_come_from_the_masks_of_the_layout(layout, tmp_path, request):
    root = request.getfixturevalue(f"synthetic_{layout}")
    options = {"preprocessing": PREPROCESSING, "near_duplicates": False, "cache": tmp_path, "num_workers": 0}
    data = SyntheticDataModule(layout=layout, root=str(root), fields=[FindingsField()], **options)
    found = findings_of(data.context)
    assert bool(found) == (layout == "idrid")
    batch = next(iter(data.val_dataloader()))
    assert batch["findings"] == [found.get(name) for name in batch["id"]]
