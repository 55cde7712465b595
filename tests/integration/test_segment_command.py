"""`retinai segment`, and vessels as a field of batches."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from retinai.data.photographs.field_of_view import find_field_of_view
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.vessels.field import VesselField, vessel_regions
from retinai.vessels.methods import VesselSettings

Command = Callable[..., int]
COLUMNS = ["id", "path", "mask", "density", "artery", "vein", "uncertain", "error"]
PREPARED = Preprocessing(64, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn photographs of 512 pixels with their true vessels."""
    from retinai.synthetic.cohort import write_cohort

    out = tmp_path_factory.mktemp("drawn") / "aptos"
    write_cohort(out, "aptos", 10, size=512, seed=1, workers=1, progress=False, masks=True)
    return out


@pytest.fixture
def photographs(cohort: Path, tmp_path: Path) -> Path:
    """Two of them in a folder."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    for file in sorted((cohort / "train_images").iterdir())[:2]:
        shutil.copy(file, folder)
    return folder


def truth(cohort: Path, stem: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the true arteries and veins of a drawn photograph."""
    folder = next((cohort / "masks").rglob(stem))
    artery, vein = (np.asarray(Image.open(folder / f"{kind}.png")) > 0 for kind in ("artery", "vein"))
    return artery, vein


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


@pytest.mark.parametrize(("vessels", "least"), [("wnet", 0.5), ("sato", 0.45)])
def test_masks_of_drawn_photographs(
    vessels: str, least: float, cohort: Path, photographs: Path, tmp_path: Path, command: Command, request: Any
) -> None:
    weights = request.getfixturevalue("weights_root") if vessels == "wnet" else tmp_path
    if vessels == "wnet":
        next(photographs.iterdir()).unlink()  # one photograph takes seconds
    (photographs / "broken.png").write_text("no photograph")
    out = tmp_path / "out"
    words = [f"images={photographs}", f"out={out}", f"vessels={vessels}", f"paths.weights={weights}", "num_workers=0"]
    assert command("segment", *words, "preview=true") == 0
    table = pd.read_csv(out / "segment.csv", keep_default_na=False)
    assert list(table) == COLUMNS and len(table) == 2 + (vessels == "sato")
    rows = table.set_index("id")
    assert rows.loc["broken", "error"] and rows.loc["broken", "mask"] == "" and not (out / "broken.png").exists()
    found = []
    for row in table[table["error"] == ""].itertuples():
        artery, vein = truth(cohort, str(row.id))
        image = Image.open(out / str(row.mask))
        classes = np.asarray(image)
        assert image.mode == "L" and classes.shape == artery.shape and set(np.unique(classes)) <= {0, 1, 2, 3}
        found.append(dice(classes > 0, artery | vein))
        assert Image.open(out / "overlays" / f"{row.id}_overlay.png").size == image.size
        inside = find_field_of_view(np.asarray(Image.open(row.path).convert("RGB")))
        area = float(cv2.contourArea(inside.outline))
        assert float(row.density) == pytest.approx((classes > 0).sum() / area, rel=0.01) and float(row.uncertain) <= 1
        if vessels == "sato":
            assert float(row.uncertain) == 1
        else:  # arteries lie on arteries rather than on veins, and veins on veins
            assert dice(classes == 1, artery & ~vein) > dice(classes == 1, vein & ~artery)
            assert dice(classes == 2, vein & ~artery) > dice(classes == 2, artery & ~vein)
    assert min(found) > least, found


def test_names_that_would_meet_are_kept_apart_and_nothing_is_replaced(
    photographs: Path, tmp_path: Path, command: Command, capsys: Any
) -> None:
    first = sorted(photographs.iterdir())[0]
    Image.open(first).save(photographs / f"{first.stem}.bmp")
    out = tmp_path / "out"
    words = [f"images={photographs}", "vessels=sato", "num_workers=0"]
    assert command("segment", *words, f"out={out}") == 0
    assert "share a name" in capsys.readouterr().err
    masks = pd.read_csv(out / "segment.csv")["mask"]
    assert masks.nunique() == 3 and all((out / mask).is_file() for mask in masks)
    assert command("segment", *words, f"out={out}") == 2
    assert "overwrite=true" in capsys.readouterr().err
    assert command("segment", *words, f"out={out}", "overwrite=true") == 0
    for _ in range(2):  # masks of the first time are not photographs of the second
        assert command("segment", *words, f"out={photographs / 'masks'}", "overwrite=true") == 0
        assert len(pd.read_csv(photographs / "masks" / "segment.csv")) == 3
    shutil.rmtree(photographs / "masks")
    (photographs / f"{first.stem}.bmp").unlink()
    before = {file: file.read_bytes() for file in photographs.iterdir()}
    assert command("segment", *words, f"out={photographs}", "overwrite=true") == 2
    assert "would replace a photograph" in capsys.readouterr().err
    assert {file: file.read_bytes() for file in photographs.iterdir()} == before


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["images=PHOTOS", "paths.weights=nowhere"], "agaldran/lwnet"),
        (["images=PHOTOS", "vessels=folder"], "masks="),
        (["images=PHOTOS", "vessels=sato", "masks=x"], "masks="),
        (["images=PHOTOS", "vessels=folder", "masks=nowhere"], "nowhere is no folder"),
        (["images=PHOTOS", "vessels=frangi"], "wnet, wnet_vessels, sato, folder"),
        (["images=nowhere", "vessels=sato"], "nowhere"),
        (["vessels=sato"], "either images="),
    ],
)
def test_faults_are_one_sentence(
    words: list[str], told: str, photographs: Path, tmp_path: Path, command: Command, capsys: Any
) -> None:
    out = tmp_path / "out"
    assert command("segment", *(word.replace("PHOTOS", str(photographs)) for word in words), f"out={out}") == 2
    said = capsys.readouterr().err
    assert told in said and "Traceback" not in said, said
    assert not out.exists()


def test_a_data_set_and_masks_from_a_folder(
    synthetic_aptos: Path, tmp_path: Path, command: Command, capsys: Any
) -> None:
    data = ["data=aptos", f"data.root={synthetic_aptos}", f"paths.cache={tmp_path / 'cache'}", "num_workers=0"]
    out, again = tmp_path / "out", tmp_path / "again"
    assert command("segment", *data, f"out={out}", "vessels=sato") == 0
    assert command("segment", *data, f"out={again}", "vessels=folder", f"masks={out}") == 0
    table = pd.read_csv(out / "segment.csv")
    assert len(table) == len(list(synthetic_aptos.glob("*_images/*.png"))) and table["error"].isna().all()
    for mask in table["mask"]:
        assert (out / mask).read_bytes() == (again / mask).read_bytes()


def test_batches_carry_vessels_that_move_with_their_photographs(
    synthetic_aptos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from retinai.data.sources.aptos import AptosDataModule

    def batch(split: str) -> dict[str, Any]:
        data = AptosDataModule(
            root=str(synthetic_aptos), preprocessing=PREPARED, fields=[VesselField("sato")], num_workers=0,
            cache=str(tmp_path / "cache"), batch_size=4, augment=[{"name": "HorizontalFlip", "params": {"p": 1.0}}],
        )  # fmt: skip
        found = next(iter(data.loader(split)))
        return found | {"path": data.table.set_index("id")["path"][found["id"]].tolist()}

    for split, step in (("val", 1), ("train", -1)):  # only training photographs are mirrored
        found = batch(split)
        assert found["vessels"].shape == (4, 64, 64) and str(found["vessels"].dtype) == "torch.uint8"
        for path, classes in zip(found["path"], found["vessels"].numpy(), strict=True):
            expected = vessel_regions(path, PREPARED, VesselSettings("sato"))
            assert list(expected) == ["vessels"] and expected["vessels"].any()
            np.testing.assert_array_equal(classes[:, ::step] > 0, expected["vessels"])
    # A second time they come from the cache.
    monkeypatch.setattr(VesselField, "_prepare", lambda *_: pytest.fail("not taken from the cache"))
    assert (batch("val")["vessels"] == batch("val")["vessels"]).all()


def test_a_field_of_a_folder_says_how_many_masks_are_missing(synthetic_aptos: Path, tmp_path: Path) -> None:
    from retinai.data.sources.aptos import AptosDataModule
    from retinai.errors import DataError

    field = VesselField("folder", masks=str(tmp_path))
    data = AptosDataModule(
        root=str(synthetic_aptos), preprocessing=PREPARED, fields=[field], cache=str(tmp_path / "cache")
    )
    with pytest.raises(DataError, match="have no mask in"):
        data.setup()
