"""Masks of other tools, each in its own form, and the names of ours."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retinai.data.photographs.field_of_view import whole_frame
from retinai.errors import DataError, UserError
from retinai.vessels.mask_folder import FolderVessels, read_classes
from retinai.vessels.names import mask_names, overlay_name

KINDS = np.array([[0, 1, 2, 3]], np.uint8)
PALETTE = [0, 0, 0, 255, 0, 0, 0, 0, 255, 0, 255, 0]
AUTOMORPH = np.array([[(0, 0, 0), (255, 0, 0), (0, 0, 255), (0, 255, 0)]], np.uint8)
VESSELS = [[0, 3, 0, 3]]


def indexed() -> Image.Image:
    image = Image.fromarray(KINDS, "P")
    image.putpalette(PALETTE)
    return image


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.fromarray(KINDS), KINDS.tolist()),
        (indexed(), KINDS.tolist()),
        (Image.fromarray(AUTOMORPH), KINDS.tolist()),
        (Image.fromarray(AUTOMORPH).convert("RGBA"), KINDS.tolist()),
        (Image.fromarray(np.array([[(0, 0, 0), (255, 0, 255), (255, 255, 255), (9, 9, 9)]], np.uint8)), [[0, 3, 3, 0]]),
        (Image.fromarray(np.array([[0, 255, 0, 255]], np.uint8)), VESSELS),
        (Image.fromarray(np.array([[0, 1, 0, 1]], np.uint8)), VESSELS),
        (Image.fromarray(np.array([[0, 1, 0, 1]], bool)), VESSELS),
        (Image.fromarray(np.repeat(np.array([[0, 255, 0, 255]], np.uint8)[..., None], 3, axis=2)), VESSELS),
    ],
    ids=["grey", "indexed", "colours", "rgba", "crossings", "0 and 255", "0 and 1", "1 bit", "grey in colours"],
)
def test_kinds_of_masks(image: Image.Image, expected: list[list[int]], tmp_path: Path) -> None:
    image.save(tmp_path / "mask.png")
    assert read_classes(tmp_path / "mask.png").tolist() == expected


def _header(width: int, height: int) -> bytes:
    """Return the beginning of a PNG, which is all of it."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))


def _saved(pixels: np.ndarray, kind: str) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind)
    return out.getvalue()


HARMFUL = {
    "a bomb": _header(60_000, 60_000),
    "no pixels": _header(8, 8),
    "a program of PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n",
    "16 bits": _saved(np.full((2, 3), 700, np.uint16), "PNG"),
    "shares": _saved(np.zeros((2, 3), np.float32), "TIFF"),
}


@pytest.mark.parametrize("harm", HARMFUL)
def test_what_could_harm_or_has_no_classes_is_refused(harm: str, tmp_path: Path) -> None:
    (tmp_path / "mask.png").write_bytes(HARMFUL[harm])
    with pytest.raises(DataError, match=r"mask\.png"):
        read_classes(tmp_path / "mask.png")


def test_names_for_which_no_disk_has_room_are_cut() -> None:
    names = mask_names([f"/a/{'x' * 250}.jpg", f"/a/{'x' * 250}.png", "/a/b.png"])
    assert len(set(names)) == 3 and names[2] == "b.png" and overlay_name("b.png") == "overlays/b_overlay.png"
    long = [overlay_name(name) for name in names]
    assert len(set(long)) == 3 and max(len(Path(name).name) for name in [*names, *long]) <= 255


@pytest.mark.parametrize("content", [b"", b"no image", None], ids=["empty", "text", "numbers"])
def test_what_is_no_mask_is_refused(content: bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "mask.png"
    Image.fromarray(np.array([[0, 80, 255]], np.uint8)).save(file)
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(DataError, match=r"mask\.png"):
        read_classes(file)


@pytest.mark.parametrize("place", [".", "artery_vein", "M2/artery_vein/raw", "right"])
def test_masks_are_found_by_the_names_of_their_photographs(place: str, tmp_path: Path) -> None:
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    Image.fromarray(KINDS).save(tmp_path / place / "eye.png")
    method = FolderVessels(tmp_path)
    photograph, view = np.zeros((2, 8, 3), np.uint8), whole_frame(2, 8)
    large = method.segment(photograph, view, "photographs/right/eye.jpg")  # a copy of half the sides
    assert large.tolist() == np.repeat(np.repeat(KINDS, 2, axis=1), 2, axis=0).tolist()
    with pytest.raises(DataError, match=r"no mask other\.png"):
        method.segment(photograph, view, "other.jpg")
    with pytest.raises(DataError, match="4 x 1 pixels, its photograph 3 x 3"):
        method.segment(np.zeros((3, 3, 3), np.uint8), view, "right/eye.jpg")


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["d/a.jpg", "d/b.jpg"], ["a.png", "b.png"]),
        (["d/x/1.jpg", "d/y/1.jpg", "d/2.jpg"], ["x/1.png", "y/1.png", "2.png"]),
        (["d/1.jpg", "d/1.png"], ["1.jpg.png", "1.png.png"]),
        (["d/x/1.jpg", "d/x/1.png", "d/y/1.png"], ["x/1.jpg.png", "x/1.png.png", "y/1.png"]),
        (["d/A.jpg", "d/a.png"], ["A.jpg.png", "a.png.png"]),
    ],
)
def test_photographs_that_share_a_name_are_kept_apart(paths: list[str], expected: list[str]) -> None:
    assert mask_names(paths) == expected


def test_what_cannot_be_kept_apart_is_refused() -> None:
    with pytest.raises(UserError, match="rename one of them"):
        mask_names(["d/1.jpg", "d/1.png", "d/1.jpg.png"])
