import io
import pickle
import struct
import zlib

import numpy as np
import pytest
from drawn_eye import draw_eye
from PIL import Image, PngImagePlugin

from retinai.data.photographs.images import BadImageError, read_mask, read_photograph


@pytest.fixture(scope="module")
def eye():
    return draw_eye()


def save(path, image, **options):
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(path, **options)
    return path


@pytest.mark.parametrize("suffix", ["png", "bmp", "ppm", "tif", "tif_lzw", "webp"])
def test_lossless_kinds_give_the_pixels_that_were_written(tmp_path, eye, suffix):
    kind, _, packing = suffix.partition("_")
    options = {"lossless": True} if kind == "webp" else {"compression": "tiff_lzw"} if packing else {}
    assert np.array_equal(read_photograph(save(tmp_path / f"a.{kind}", eye, **options)), eye)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0, "quality": 100}, {"subsampling": 2}])
def test_fast_jpeg_equals_pillow(tmp_path, eye, options):
    path = save(tmp_path / "a.jpg", eye[:133, :211], **options)
    assert np.array_equal(read_photograph(path), np.asarray(Image.open(path).convert("RGB")))


def test_grey_palette_and_one_bit(tmp_path, eye):
    grey = Image.fromarray(eye).convert("L")
    expected = np.repeat(np.asarray(grey)[:, :, None], 3, axis=2)
    assert np.array_equal(read_photograph(save(tmp_path / "grey.png", grey)), expected)
    palette = Image.fromarray(eye).quantize(200)
    assert np.array_equal(read_photograph(save(tmp_path / "palette.png", palette)), np.asarray(palette.convert("RGB")))
    bits = grey.convert("1")
    assert set(np.unique(read_photograph(save(tmp_path / "bits.png", bits)))) == {0, 255}


def test_transparency_lies_on_black(tmp_path, eye):
    alpha = np.full(eye.shape[:2], 255, np.uint8)
    alpha[:, :150] = 0
    alpha[:, 150] = 128
    pixels = read_photograph(save(tmp_path / "a.png", np.dstack([eye, alpha])))
    assert not pixels[:, :150].any()
    assert np.array_equal(pixels[:, 151:], eye[:, 151:])
    assert np.abs(pixels[:, 150] - eye[:, 150] * (128 / 255)).max() <= 1


def test_colour_key_of_a_png_is_transparent(tmp_path, eye):
    marked = eye.copy()
    marked[:20] = (255, 0, 255)
    pixels = read_photograph(save(tmp_path / "a.png", marked, transparency=(255, 0, 255)))
    assert not pixels[:20].any()
    assert np.array_equal(pixels[20:], eye[20:])


def test_cmyk_of_an_adobe_jpeg_is_not_inverted(tmp_path, eye):
    path = save(tmp_path / "a.jpg", Image.fromarray(eye).convert("CMYK"), quality=98, subsampling=0)
    assert np.abs(read_photograph(path).astype(int) - eye).mean() < 3


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path, eye):
    deep = eye[:, :, 0].astype(np.uint16) * 257
    for name in ("a.png", "a.tif"):
        pixels = read_photograph(save(tmp_path / name, deep))
        assert np.array_equal(pixels, np.repeat(eye[:, :, :1], 3, axis=2))


def test_sixteen_bit_colour_is_scaled(tmp_path, eye):
    deep = (eye.astype(">u2") * 257).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in deep)
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", 300, 200, 16, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    packed = [struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks]
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(packed))
    assert np.array_equal(read_photograph(tmp_path / "a.png"), eye)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif"])
@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_exif_rotation_is_carried_out(tmp_path, eye, name, orientation):
    turns = {3: 2, 6: 3, 8: 1}[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / name, eye, exif=exif, **({"quality": 98, "subsampling": 0} if name == "a.jpg" else {}))
    assert np.abs(read_photograph(path).astype(int) - np.rot90(eye, turns)).mean() < 3


def truncated(kind, eye):
    buffer = io.BytesIO()
    Image.fromarray(eye).save(buffer, kind)
    return buffer.getvalue()[: len(buffer.getvalue()) // 2]


def bomb():
    header = b"IHDR" + struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"\0" * 1000)
    chunks = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (header, data, b"IEND")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_bad_files_have_one_clear_reason_and_the_terminal_stays_quiet(tmp_path, eye, capfd, recwarn):
    black = io.BytesIO()
    Image.fromarray(np.full((100, 120, 3), 4, np.uint8)).save(black, "JPEG")
    large = io.BytesIO()  # small enough for Pillow to warn only
    Image.new("1", (10000, 9500)).save(large, "PNG")
    Image.fromarray(eye).save(tmp_path / "whole.png")
    damaged = bytearray((tmp_path / "whole.png").read_bytes())
    damaged[len(damaged) // 2] ^= 0xFF
    cases = {
        "empty.png": (b"", "empty file"),
        "short.jpg": (truncated("JPEG", eye), "truncated JPEG"),
        "header.jpg": (truncated("JPEG", eye)[:20], "truncated JPEG"),
        "short.png": (truncated("PNG", eye), "truncated PNG"),
        "short.tif": (truncated("TIFF", eye), "truncated TIFF"),
        "text.png": (b"this is no photograph\n" * 20, "not an image"),
        "bomb.png": (bomb(), "decompression bomb"),
        "large.png": (large.getvalue(), "decompression bomb: 10000 x 9500 pixels"),
        "black.jpg": (black.getvalue(), "all black"),
        "damaged.png": (bytes(damaged), "PNG"),
    }
    for name, (data, reason) in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(BadImageError) as caught:
            read_photograph(tmp_path / name)
        assert reason in caught.value.reason, name
        assert str(caught.value).startswith(f"{tmp_path / name}: ")
        assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list


@pytest.mark.parametrize("row", [0, 1, 16])
@pytest.mark.parametrize(("lit", "black"), [(59, True), (60, False), (121, False)])  # a thousandth of 200 x 300 are 60
def test_a_photograph_is_black_where_less_than_a_thousandth_is_lit(tmp_path, row, lit, black):
    pixels = np.full((200, 300, 3), 15, np.uint8)
    pixels[row, :lit, 1] = 16
    Image.fromarray(pixels).save(tmp_path / "dark.png")
    if black:
        with pytest.raises(BadImageError, match="all black"):
            read_photograph(tmp_path / "dark.png")
    else:
        assert np.array_equal(read_photograph(tmp_path / "dark.png"), pixels)


def test_a_bomb_takes_no_memory(tmp_path):
    resource = pytest.importorskip("resource")
    (tmp_path / "bomb.png").write_bytes(bomb())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BadImageError):
        read_photograph(tmp_path / "bomb.png")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


def test_missing_file_folder_and_pickling(tmp_path):
    with pytest.raises(BadImageError, match="no such file"):
        read_photograph(tmp_path / "none.png")
    with pytest.raises(BadImageError, match="a folder, not a file") as caught:
        read_photograph(tmp_path)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.path, again.reason, str(again)) == (caught.value.path, caught.value.reason, str(caught.value))


def test_a_dark_photograph_is_not_all_black(tmp_path):
    read_photograph(save(tmp_path / "dark.png", draw_eye(level=0.15)))


def test_png_with_odd_colour_profile_is_read(tmp_path, eye, capfd):
    info = PngImagePlugin.PngInfo()
    info.add(b"gAMA", struct.pack(">I", 100000))
    path = save(tmp_path / "a.png", eye, pnginfo=info, icc_profile=b"\0" * 200)
    assert np.array_equal(read_photograph(path), eye)
    assert capfd.readouterr() == ("", "")


def test_masks_of_every_form(tmp_path):
    lesion = np.zeros((40, 60), np.uint8)
    lesion[10:20, 30:50] = 1
    red = Image.fromarray(lesion, "P")
    red.putpalette([0, 0, 0, 255, 0, 0] + [0] * 762)
    assert red.convert("L").getextrema() == (0, 76)
    bits = Image.fromarray(lesion * 255).convert("1")
    rgba = Image.fromarray(np.dstack([lesion * 255, lesion * 0, lesion * 0, lesion * 0 + 255]), "RGBA")
    forms = {"p.tif": (red, {}), "one.tif": (bits, {}), "rgba.tif": (rgba, {"compression": "tiff_lzw"})}
    for name, (image, options) in forms.items():
        mask = read_mask(save(tmp_path / name, image, **options))
        assert mask.dtype == bool
        assert np.array_equal(mask, lesion > 0), name


def test_real_masks_of_the_native_sample(idrid_root):
    folder = idrid_root.parent / "idrid_native_sample"
    if not folder.is_dir():
        pytest.skip(f"the real masks are not in {folder}")
    assert Image.open(folder / "IDRiD_81_EX.tif").mode == "RGBA"
    for path in sorted(folder.glob("*.tif")):
        mask = read_mask(path)
        assert mask.shape == (2848, 4288)
        assert 1e-5 < mask.mean() < 0.1
