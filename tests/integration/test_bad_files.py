"""Files that do not belong to a data set, through training: told by name, before a run folder is made."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from small_network import SMALL_NETWORK

TINY = [*SMALL_NETWORK, "backbone.input_size=32", "trainer=cpu", "logger=none"]
TINY += ["data.num_workers=0", "data.batch_size=8", "trainer.max_epochs=1"]


@pytest.mark.parametrize("key", ["data.findings=true", "data.masks=true"])
def test_a_mask_of_another_size_names_file_and_photograph(
    key: str, command: Callable[..., int], synthetic_idrid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(shutil.copytree(synthetic_idrid, tmp_path / "idrid"))
    masks = sorted((root / "A. Segmentation" / "2. All Segmentation Groundtruths").rglob("*_OD.tif"))
    for mask in masks:
        cv2.imwrite(str(mask), np.full((40, 200), 255, np.uint8))
    words = ["data=idrid", f"data.root={root}", key, f"run_dir={tmp_path / 'run'}", f"paths.cache={tmp_path / 'cache'}"]
    assert command("train", *TINY, *words) == 2
    said = capsys.readouterr().err
    assert "_OD.tif (optic_disc) is 200 x 40 pixels, its photograph train_IDRiD_" in said and "Traceback" not in said
    assert not (tmp_path / "run").exists()


def _as_float(content: bytes) -> bytes:
    """Return a mask as some programs save one: 0.0 and 1.0, which have no scale."""
    with Image.open(io.BytesIO(content)) as image:
        shares = Image.fromarray(np.asarray(image.convert("L"), dtype=np.float32) / 255)
    out = io.BytesIO()
    shares.save(out, "TIFF")
    return out.getvalue()


def _noise_inside(content: bytes) -> bytes:
    """Return a PNG whose header is whole and whose pixels are not."""
    with Image.open(io.BytesIO(content)) as image:
        out = io.BytesIO()
        image.convert("L").save(out, "PNG")
    return out.getvalue()[:60] + bytes(40) + out.getvalue()[100:]


DAMAGED: dict[str, Callable[[bytes], bytes]] = {
    "float": _as_float,
    "noise inside": _noise_inside,
    "text": lambda content: b"no mask",
    "empty": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
}


@pytest.mark.parametrize("key", ["data.findings=true", "data.masks=true"])
@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_mask_names_file_and_photograph_and_a_remedy_that_helps(
    key: str,
    damage: Callable[[bytes], bytes],
    command: Callable[..., int],
    synthetic_idrid: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = Path(shutil.copytree(synthetic_idrid, tmp_path / "idrid"))
    masks = sorted((root / "A. Segmentation" / "2. All Segmentation Groundtruths").rglob("*_OD.tif"))
    for mask in masks:
        mask.write_bytes(damage(mask.read_bytes()))
    words = ["data=idrid", f"data.root={root}", key, f"run_dir={tmp_path / 'run'}", f"paths.cache={tmp_path / 'cache'}"]
    words.append("data.on_bad_image=skip")  # is about photographs, so it does not help and is not advised
    assert command("train", *TINY, *words) == 2
    said = capsys.readouterr().err
    assert "lesion masks cannot be read: " in said and "_OD.tif (optic_disc of train_IDRiD_" in said
    assert "remove every mask of its photograph" in said and "on_bad_image" not in said and "Traceback" not in said
    assert not (tmp_path / "run").exists()
    if key == "data.findings=true" or masks[0].stat().st_size:  # one case is enough for what is advised
        return
    for mask in masks:
        name = mask.name.removesuffix("_OD.tif")
        for beside in (root / "A. Segmentation").rglob(f"{name}_*.tif"):
            beside.unlink()
    assert command("train", *TINY, *words, "test=false", "calibrate=false") == 0


@pytest.mark.parametrize(
    "put", [Path.mkdir, os.mkfifo, lambda place: place.symlink_to("/nowhere")], ids=["folder", "pipe", "dangling link"]
)
def test_what_stands_in_the_place_of_a_mask_is_not_taken_for_the_absence_of_its_lesion(
    put: Callable[[Path], None],
    command: Callable[..., int],
    synthetic_idrid: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = Path(shutil.copytree(synthetic_idrid, tmp_path / "idrid"))
    for mask in (root / "A. Segmentation" / "2. All Segmentation Groundtruths").rglob("*_OD.tif"):
        mask.unlink()
        put(mask)
    words = ["data=idrid", f"data.root={root}", "format=llava_jsonl", f"out={tmp_path / 'x.jsonl'}"]
    words += [f"run_dir={tmp_path / 'p'}", f"paths.cache={tmp_path / 'cache'}"]
    assert command("prepare", *words) == 2
    said = capsys.readouterr().err
    assert "lesion masks cannot be read: " in said and "_OD.tif (optic_disc of " in said
    assert not (tmp_path / "x.jsonl").exists()


def test_all_photographs_bad_says_so(
    command: Callable[..., int], synthetic_aptos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(shutil.copytree(synthetic_aptos, tmp_path / "aptos"))
    for path in (root / "train_images").iterdir():
        path.write_bytes(b"no photograph")
    words = ["data=aptos", f"data.root={root}", "data.on_bad_image=skip", f"run_dir={tmp_path / 'run'}"]
    assert command("train", *TINY, *words, f"paths.cache={tmp_path / 'cache'}") == 2
    said = capsys.readouterr().err
    assert "none of the 60 photographs of aptos can be used" in said and "val_fraction" not in said
    assert str(root) in said and not (tmp_path / "run").exists()
