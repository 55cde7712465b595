import time

import cv2
import imagehash
import numpy as np
import pytest
from drawn_eye import draw_eye
from PIL import Image

from retinai.data.curation.duplicates import bit_distances, find_duplicates, hash_words, near_pairs
from retinai.data.curation.file_index import FileIndex, FileRecord, perceptual_hash
from retinai.data.photographs.original import Original


def hash_of(pixels):
    return perceptual_hash(Original(pixels, "eye"))


def flipped(hex_hash, bits):
    value = int(hex_hash, 16)
    for bit in bits:
        value ^= 1 << int(bit)
    return f"{value:064x}"


def test_distances_equal_imagehash():
    rng = np.random.default_rng(0)
    hashes = [rng.bytes(32).hex() for _ in range(20)]
    words = hash_words(hashes)
    expected = [[imagehash.hex_to_hash(a) - imagehash.hex_to_hash(b) for b in hashes] for a in hashes]
    assert np.array_equal(bit_distances(words, words), expected)


def test_groups_exact_near_and_chained():
    base = np.random.default_rng(1).bytes(32).hex()
    other = np.random.default_rng(2).bytes(32).hex()
    near, nearer = flipped(base, range(10)), flipped(base, range(20))
    records = [
        FileRecord("lone", "s0", other, 9, 9),
        FileRecord("a", "s1", base, 9, 9),
        FileRecord("b", "s2", near, 9, 9),  # 10 bits from a
        FileRecord("c", "s3", nearer, 9, 9),  # 10 bits from b, 20 from a: linked through b
        FileRecord("x", "s4", flipped(other, range(100)), 9, 9),
        FileRecord("y", "s4", flipped(other, range(100)), 9, 9),
        FileRecord("bad1", "s5", "", reason="truncated JPEG"),
        FileRecord("bad2", "s5", "", reason="truncated JPEG"),
    ]
    groups = find_duplicates(records)
    assert [(g.kind, g.paths) for g in groups] == [("near", ("a", "b", "c")), ("exact", ("x", "y"))]
    assert [g.paths for g in find_duplicates(records, near=False)] == [("x", "y")]
    assert find_duplicates(records[:1]) == []
    assert [g.paths for g in find_duplicates({"k": records[4], "l": records[5]})] == [("k", "l")]


def test_aptos_size_is_quick_and_complete():
    rng = np.random.default_rng(0)
    hashes = [rng.bytes(32).hex() for _ in range(3662)]
    for copy in range(100):
        hashes[3000 + copy] = flipped(hashes[copy * 7], rng.integers(0, 256, 10))
    start = time.perf_counter()
    pairs = near_pairs(hashes)
    assert time.perf_counter() - start < 2
    assert {tuple(p) for p in pairs} == {(copy * 7, 3000 + copy) for copy in range(100)}


def test_other_bytes_of_one_photograph_are_near_and_other_eyes_are_not():
    eyes = [draw_eye(700, 500, 230, seed=seed) for seed in range(4)]
    first = hash_of(eyes[0])
    again = {
        "size": cv2.resize(eyes[0], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
        "border": cv2.copyMakeBorder(eyes[0], 50, 10, 90, 40, cv2.BORDER_CONSTANT),
        "jpeg": cv2.imdecode(cv2.imencode(".jpg", eyes[0], [cv2.IMWRITE_JPEG_QUALITY, 60])[1], cv2.IMREAD_COLOR),
    }
    for name, image in again.items():
        assert len(near_pairs([first, hash_of(image)])) == 1, name
    assert len(near_pairs([hash_of(eye) for eye in eyes])) == 0


def test_hash_is_that_of_imagehash_on_the_crop():
    image = draw_eye(64, 64, 40)  # fills the frame, so that the crop is the photograph
    assert hash_of(image) == str(imagehash.phash(Image.fromarray(image), hash_size=16))


def test_real_duplicates(idrid_root, tmp_path):
    """Photographs of part A that part B also has, under other names and in other bytes, are found."""
    seg = idrid_root / "A. Segmentation/1. Original Images/a. Training Set"
    grading = idrid_root / "B. Disease Grading/1. Original Images"
    pairs = {"05": "a. Training Set/IDRiD_082", "22": "b. Testing Set/IDRiD_088", "01": "a. Training Set/IDRiD_102"}
    paths = [str(seg / f"IDRiD_{a}.jpg") for a in pairs] + [str(grading / f"{b}.jpg") for b in pairs.values()]
    paths += [str(grading / f"a. Training Set/IDRiD_{n:03d}.jpg") for n in (1, 2, 3, 28, 327)]
    missing = [path for path in paths if not (idrid_root / path).exists()]
    if missing:
        pytest.skip(f"not all photographs are in {idrid_root}")
    groups = find_duplicates(FileIndex(tmp_path).scan(paths, progress=None))
    found = {tuple(p.split("IDRiD_")[-1][:-4] for p in g.paths): g.kind for g in groups}
    assert found == {("05", "082"): "near", ("22", "088"): "near", ("01", "102"): "exact", ("028", "327"): "exact"}
