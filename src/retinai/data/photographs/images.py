"""Reading photographs and masks from files that may be of any kind, or broken."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from retinai.data.photographs.dicom import DicomError, is_dicom, unpack_dicom
from retinai.errors import UserError
from retinai.files import UnreadableError, read_regular

# A 60-megapixel camera passes; a file that unpacks to gigabytes does not. Stays below the size at
# which Pillow itself begins to warn.
MAX_PIXELS = 80_000_000
# What MAX_PIXELS need with 16 bits per colour and no compression, with room for metadata.
MAX_BYTES = 512 * 2**20
_FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP", "PPM", "GIF")
_MAGIC = {b"\xff\xd8\xff": "JPEG", b"\x89PNG": "PNG", b"II*\0": "TIFF", b"MM\0*": "TIFF", b"BM": "BMP", b"RIFF": "WEBP"}
# Chunks that leave the colours of a PNG alone; a file with any other is read by Pillow.
_PLAIN_CHUNKS = frozenset({b"IHDR", b"IDAT", b"IEND", b"pHYs", b"tIME", b"tEXt", b"zTXt", b"iTXt", b"gAMA", b"sRGB"})
_BLACK_LEVEL = 15
_ORIENTATION = 0x0112
# OpenCV's flags for decoding a JPEG at a fraction of its size, inside the decoder (the grey ones leave the colours to
# IMREAD_COLOR_RGB).
_REDUCED = {
    1: 0,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}
_LARGE = 4_000_000  # pixels from which a second copy of them is worth avoiding
_BAND = 256  # rows that are converted at a time


class BadImageError(UserError):
    """A file that holds no usable photograph.

    Args:
        path: The file.
        reason: One short clause, such as `truncated JPEG`.
    """

    def __init__(self, path: str | Path, reason: str) -> None:
        self.path = str(path)
        self.reason = reason
        super().__init__(f"{path}: {reason}; replace the file, or go on without it: data.on_bad_image=skip")

    def __reduce__(self) -> tuple[type[BadImageError], tuple[str, str]]:
        return type(self), (self.path, self.reason)


@dataclass(frozen=True)
class Header:
    """What the beginning of a file says of its photograph.

    Args:
        width: Columns in pixels as it stands upright.
        height: Rows in pixels as it stands upright.
        reducible: Whether it can be decoded at a fraction of its size, which only JPEGs can.
    """

    width: int
    height: int
    reducible: bool


def read_bytes(path: str | Path) -> bytes:
    """Return the bytes of a photograph's file; only regular files of up to MAX_BYTES are opened.

    Raises:
        BadImageError: If the file is missing, empty, too large, a folder, pipe or device, or cannot be read.
    """
    try:
        data = read_regular(path, MAX_BYTES)
    except UnreadableError as error:
        raise BadImageError(path, error.reason) from error
    if not data:
        raise BadImageError(path, "empty file")
    return data


def read_photograph(path: str | Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read a photograph of any kind as 8-bit RGB, upright.

    Args:
        path: JPEG, PNG, TIFF, BMP, WebP, PPM, GIF or DICOM; grey, palette, RGB, RGBA, CMYK, 8 or 16 bit.
        max_pixels: Width times height above which the file is refused before it is unpacked.

    Returns:
        Pixels, uint8, shape (H, W, 3), RGB. Transparency lies on black, 16-bit values are scaled
        from 0..65535, the EXIF rotation is carried out.

    Raises:
        BadImageError: If the file is missing, empty, truncated, no image, too large, or all black.
    """
    return decode_photograph(read_bytes(path), path, max_pixels)


def decode_photograph(data: bytes, path: str | Path, max_pixels: int = MAX_PIXELS, reduction: int = 1) -> np.ndarray:
    """Decode the bytes of a photograph as `read_photograph` does.

    Args:
        data: The bytes of the file.
        path: Named in errors.
        max_pixels: As in `read_photograph`, of the whole photograph.
        reduction: 2, 4 or 8 decode a JPEG at that fraction of its sides, rounded up; other kinds are decoded whole.

    Returns:
        Pixels, uint8, RGB, upright, (H, W, 3), with H and W divided by `reduction` and rounded up.

    Raises:
        BadImageError: As `read_photograph`.
    """
    pixels = _decode(data, path, max_pixels, reduction)
    if _is_black(pixels):
        raise BadImageError(path, "all black")
    return pixels


def _is_black(pixels: np.ndarray) -> bool:
    """Return whether fewer than a thousandth of the pixels of a sparse grid, which tells as much as all, are lit."""
    step = max(1, min(pixels.shape[:2]) // 256)
    grid = pixels[::step]
    few = _lit(grid[::16], step)  # of nearly every photograph these rows alone have more than enough
    if np.count_nonzero(few) > 0.002 * len(grid) * few.shape[1]:
        return False
    return bool(np.mean(_lit(grid, step)) < 0.001)


def _lit(rows: np.ndarray, step: int) -> np.ndarray:
    """Return which of every `step`-th pixel of some rows are lit in a colour, bool, (rows, columns)."""
    lit = rows.reshape(-1, 3 * rows.shape[1]) > _BLACK_LEVEL  # long rows: loops over three are slow
    red, green, blue = (lit[:, channel :: 3 * step] for channel in range(3))
    found: np.ndarray = red | green | blue
    return found


def read_mask(path: str | Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read a lesion, disc or vessel mask.

    Any colour but black counts, so that a palette whose index 1 is red (grey value 76), a 1-bit
    image and an RGBA image all read rightly.

    Args:
        path: TIFF, PNG or another kind that `read_photograph` reads.
        max_pixels: As in `read_photograph`.

    Returns:
        Mask, bool, shape (H, W).

    Raises:
        BadImageError: If the file is missing, empty, truncated, no image, or too large.
    """
    return decode_mask(read_bytes(path), path, max_pixels)


def decode_mask(data: bytes, path: str | Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decode the bytes of a mask as `read_mask` does; `path` is named in errors.

    Raises:
        BadImageError: If they are no image, truncated or too large.
    """
    red, green, blue = np.moveaxis(_decode(data, path, max_pixels), 2, 0)
    mask: np.ndarray = (red | green | blue) > 0
    return mask


def read_size(path: str | Path) -> tuple[int, int]:
    """Return width and height of a photograph or mask as it stands upright; its pixels are not decoded.

    Raises:
        BadImageError: If the file is missing, empty, no image, or a TIFF that ends too early.
    """
    header = read_header(read_bytes(path), path)
    return header.width, header.height


def read_header(data: bytes, path: str | Path) -> Header:
    """Return what the beginning of a file says; `path` is named in errors.

    Raises:
        BadImageError: If the bytes are no image, or a TIFF that ends too early.
    """
    data = _unpacked(data, path, MAX_PIXELS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
                if image.format == "TIFF" and _strips_end(image) > len(data):
                    raise BadImageError(path, "truncated TIFF")
                turned = image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
                sides = (image.height, image.width) if turned else (image.width, image.height)
                return Header(*sides, reducible=image.format == "JPEG")
        except BadImageError:
            raise
        except Image.DecompressionBombError as error:
            raise BadImageError(path, f"decompression bomb: more than {MAX_PIXELS:,} pixels") from error
        except Exception as error:  # Pillow's readers raise nearly anything on a damaged file
            raise BadImageError(path, _reason(error, data)) from error


def _decode(data: bytes, path: str | Path, max_pixels: int, reduction: int = 1) -> np.ndarray:
    """Decode bytes to RGB pixels; whatever Pillow raises becomes one clear reason."""
    data = _unpacked(data, path, max_pixels)
    with warnings.catch_warnings():
        # Pillow warns of odd metadata in good files; what matters is raised below.
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
                if image.width * image.height > max_pixels:
                    raise BadImageError(path, _too_large(image.width, image.height, max_pixels))
                if image.format == "TIFF" and _strips_end(image) > len(data):
                    raise BadImageError(path, "truncated TIFF")  # before libtiff writes to the terminal
                if image.format != "JPEG":
                    reduction = 1
                pixels = _decode_plain(image, data, reduction)
                if pixels is None and reduction > 1:
                    image.draft(None, (image.width // reduction, image.height // reduction))
                return _decode_any(image, path) if pixels is None else pixels
        except (BadImageError, MemoryError):
            raise
        except Image.DecompressionBombError as error:
            raise BadImageError(path, f"decompression bomb: more than {max_pixels:,} pixels") from error
        except Exception as error:  # Pillow's readers raise nearly anything on a damaged file
            raise BadImageError(path, _reason(error, data)) from error


def _unpacked(data: bytes, path: str | Path, max_pixels: int) -> bytes:
    """Return the image inside of a DICOM file; other bytes as they are."""
    if not is_dicom(data):
        return data
    try:
        return unpack_dicom(data, max_pixels)
    except DicomError as error:
        raise BadImageError(path, str(error)) from error


def _too_large(width: int, height: int, max_pixels: int) -> str:
    return f"decompression bomb: {width} x {height} pixels, more than {max_pixels:,}"


def _reason(error: Exception, data: bytes) -> str:
    """Say in one clause why bytes are no readable image."""
    kind = next((name for magic, name in _MAGIC.items() if data.startswith(magic)), None)
    if kind is None:
        return "not an image" if isinstance(error, UnidentifiedImageError) else f"damaged image ({error})"
    message = str(error).lower()
    if "truncated" in message or "premature" in message or isinstance(error, UnidentifiedImageError | EOFError):
        return f"truncated {kind}"
    return f"damaged {kind}"


def _decode_plain(image: Image.Image, data: bytes, reduction: int) -> np.ndarray | None:
    """Decode an ordinary JPEG or PNG with OpenCV, or return None where Pillow should do it.

    OpenCV gives the same pixels for these kinds (JPEG in half the time, PNG in four fifths), reduced too, but
    on a damaged file it writes to the terminal or gives half a picture. So only files that look
    whole and plain come here, and a failure falls back to Pillow, which says what is wrong.
    """
    if image.mode != "RGB" or "transparency" in image.info:
        return None
    if image.format == "JPEG":
        # The end marker must be there: some releases of OpenCV return a truncated JPEG half grey.
        plain = b"\xff\xd9" in data[-32:] and image.getexif().get(_ORIENTATION, 1) == 1
    else:
        plain = image.format == "PNG" and _is_plain_png(data)
    if not plain:
        return None
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION | _REDUCED[reduction]
    height, width = -(-image.height // reduction), -(-image.width // reduction)
    pixels = _decode_in_place(data, height, width, flags) if height * width >= _LARGE else None
    if pixels is None:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    return pixels if pixels is not None and pixels.shape == (height, width, 3) else None


def _decode_in_place(data: bytes, height: int, width: int, flags: int) -> np.ndarray | None:
    """Decode into an array of ours, or return None where the system cannot.

    OpenCV's `imdecode` holds all pixels twice for a moment, and its `imread` into a given array does not; so the bytes
    are given to it as a file that lies in memory.
    """
    if not hasattr(os, "memfd_create"):
        return None
    pixels = np.empty((height, width, 3), np.uint8)
    handle = os.memfd_create("photograph")
    try:
        with os.fdopen(handle, "wb", closefd=False) as file:
            file.write(data)
        read = cv2.imread(f"/proc/self/fd/{handle}", pixels, flags)
        return pixels if read is not None and np.shares_memory(read, pixels) else None
    finally:
        os.close(handle)


def _strips_end(image: Image.Image) -> int:
    """Return where the last strip or tile of a TIFF ends, as its directory tells."""
    tags = getattr(image, "tag_v2", {})
    ends = [0]
    for offsets, lengths in ((273, 279), (324, 325)):
        ends += [start + length for start, length in zip(tags.get(offsets, ()), tags.get(lengths, ()), strict=False)]
    return int(max(ends))


def _is_plain_png(data: bytes) -> bool:
    """Return whether a PNG is whole (checksums, end chunk), 8 bit, and has only ordinary chunks."""
    position, view = 8, memoryview(data)
    while position + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        end = position + 8 + length
        if name not in _PLAIN_CHUNKS or end + 4 > len(data):
            return False
        if zlib.crc32(view[position + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            return False
        if name == b"IHDR" and (length != 13 or data[position + 16] != 8):
            return False
        if name == b"IEND":
            return True
        position = end + 4
    return False


def _decode_any(image: Image.Image, path: str | Path) -> np.ndarray:
    """Decode any kind with Pillow: upright, on black, 16 bit scaled to 8."""
    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        # The high byte, as Pillow itself does for 16-bit colour; convert("RGB") would clip instead.
        grey = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode in ("I", "F", "LAB", "HSV"):
        raise BadImageError(path, f"pixel kind {image.mode!r} has no known scale; save it as 8- or 16-bit grey or RGB")
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, _BAND):  # so that converting needs no second copy of all pixels
        bottom = min(top + _BAND, image.height)
        pixels[top:bottom] = _on_black(image.crop((0, top, image.width, bottom)))
    return pixels


def _on_black(image: Image.Image) -> np.ndarray:
    """Return the RGB pixels of a picture; what is transparent lies on black."""
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image)
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
