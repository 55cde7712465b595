"""Vessel masks that other tools wrote: AutoMorph, VascX, or `retinai segment` itself."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from retinai.data.photographs.field_of_view import FieldOfView
from retinai.data.photographs.images import MAX_PIXELS, BadImageError, read_bytes
from retinai.data.photographs.prepared_pixels import same_shape
from retinai.errors import DataError, UserError
from retinai.vessels.class_map import ARTERY, BOTH, NONE, VEIN

# Where tools put their masks below the folder of their results; what tells arteries from veins comes first.
_PLACES = (".", "artery_vein", "artery_vein/raw", "M2/artery_vein/raw", "vessels", "binary_vessel/raw",
           "M2/binary_vessel/raw")  # fmt: skip
_DEPTH = 6  # folders above a photograph that the name of its mask may hold
_BRIGHT = 127
# Pillow knows more, some of which start other programs.
_FORMATS = ("PNG", "TIFF", "BMP", "GIF")
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")


class FolderVessels:
    """Class maps from a folder of masks, found by the names of the photographs: `<stem>.png`, see `find`.

    Args:
        folder: The folder, or the one of a tool's results above it.
        chosen_by: The key that gave it, to name in messages.

    Raises:
        UserError: If it is no folder.
    """

    key = "folder"

    def __init__(self, folder: str | Path, chosen_by: str = "masks") -> None:
        self.folder = Path(folder).expanduser()
        if not self.folder.is_dir():
            raise UserError(f"{chosen_by}={self.folder} is no folder; give the one that holds the vessel masks")

    def segment(self, photograph: np.ndarray, view: FieldOfView, path: str) -> np.ndarray:
        """Return the class map of a photograph, see `VesselMethod.segment`.

        Raises:
            DataError: If the photograph has no mask, or one that cannot be used.
        """
        file = self.find(path)
        if file is None:
            raise DataError(f"no mask {Path(path).stem}.png in {self.folder}")
        classes, (height, width) = read_classes(file), photograph.shape[:2]
        if classes.shape == (height, width):
            return classes
        if not same_shape(classes.shape, (height, width)):
            raise DataError(
                f"the mask {file} is {classes.shape[1]} x {classes.shape[0]} pixels, its photograph {width} x "
                f"{height}: it was made of a crop; give the photographs as they were cropped, or masks of whole ones"
            )
        return cv2.resize(classes, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)

    def find(self, path: str | Path) -> Path | None:
        """Return the mask file of a photograph; None if there is none.

        Masks of photographs that share a name lie as `retinai segment` writes them: in the folders of the photographs.
        """
        path = Path(path)
        found = [self.folder / place / f"{path.stem}.png" for place in _PLACES]
        for depth in range(1, min(len(path.parts), _DEPTH) + 1):
            longer = self.folder.joinpath(*path.parts[-depth:])
            found += [longer.with_suffix(".png"), longer.with_name(f"{longer.name}.png")]
        return next((file for file in found if file.is_file()), None)


def read_classes(file: str | Path) -> np.ndarray:
    """Read a mask of any of these kinds as a class map.

    - grey or indexed with values up to 3 (VascX, retinai): 1 artery, 2 vein, 3 crossing;
    - grey or indexed with two values, 0 and another (1 or 255): vessels of no known kind, class 3;
    - in colours (AutoMorph): red artery, blue vein, any other colour but black crossing or uncertain.

    Args:
        file: A PNG.

    Returns:
        uint8, (H, W).

    Raises:
        DataError: If it cannot be read, or is none of these.
    """
    try:
        data = read_bytes(file)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise DataError(f"the mask {file} has more than {MAX_PIXELS} pixels; replace it")
                if image.mode not in _MODES:
                    raise DataError(f"the mask {file} has pixels of the kind {image.mode}; save it as 8-bit PNG")
                plain = image.mode in ("1", "L", "P")
                values = np.asarray(image if plain else image.convert("RGB"))
                if image.mode == "P" and values.max() > BOTH:
                    plain, values = False, np.asarray(image.convert("RGB"))
    except BadImageError as error:
        raise DataError(f"the mask {file} cannot be read ({error.reason}); replace it") from error
    except DataError:
        raise
    except Exception as error:  # Pillow's readers raise nearly anything on a damaged file
        raise DataError(f"the mask {file} is damaged, or no PNG ({type(error).__name__}); replace it") from error
    if not plain and np.ptp(values, axis=2).max() == 0:  # grey that was saved in colours
        plain, values = True, values[..., 0]
    return _of_numbers(values.astype(np.uint8), file) if plain else _of_colours(values)


def _of_numbers(values: np.ndarray, file: str | Path) -> np.ndarray:
    there = set(np.unique(values).tolist()) - {NONE}
    if there <= {1} or there == {255}:  # a mask with arteries and no vein is one of vessels whose kind is not told
        return np.where(values > 0, np.uint8(BOTH), np.uint8(NONE))
    if not there <= {ARTERY, VEIN, BOTH}:
        shown = ", ".join(map(str, sorted(there)[:6]))
        raise DataError(f"the mask {file} holds the values {shown}; it must hold 1, 2 and 3, or 255 alone")
    return values


def _of_colours(values: np.ndarray) -> np.ndarray:
    red, green, blue = np.moveaxis(values > _BRIGHT, 2, 0)
    classes = np.where(red | green | blue, np.uint8(BOTH), np.uint8(NONE))
    classes[red & ~green & ~blue] = ARTERY
    classes[blue & ~green & ~red] = VEIN
    return classes
