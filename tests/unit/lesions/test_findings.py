"""Findings against masks drawn by hand, scipy's labels, and the real masks."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from scipy import ndimage

from retinai.data.curation.checked_lines import decode, encode
from retinai.data.loading.fields import FieldSample
from retinai.data.photographs.images import read_mask, read_photograph
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.data.sources.idrid import graded_masks, lesion_mask_files
from retinai.errors import DataError
from retinai.lesions.fields import FindingsField
from retinai.lesions.findings import LESION_NAMES, Findings, LesionFinding, measure_findings
from retinai.lesions.measured import measure_files


def photograph(side: int = 200, radius: int = 80) -> np.ndarray:
    """A lit disc in the middle of a black frame."""
    image = np.zeros((side, side, 3), np.uint8)
    cv2.circle(image, (side // 2, side // 2), radius, (150, 80, 40), -1)
    return image


def spots(*places: tuple[int, int], side: int = 200, half: int = 2) -> np.ndarray:
    mask = np.zeros((side, side), bool)
    for x, y in places:
        mask[y - half : y + half + 1, x - half : x + half + 1] = True
    return mask


def test_counts_areas_and_quadrants_by_hand():
    masks = {"microaneurysms": spots((70, 70), (130, 70)), "hard_exudates": spots((60, 140)), "soft_exudates": spots()}
    masks["microaneurysms"][30, 100] = True  # a speck of one pixel counts
    found = measure_findings(photograph(), masks)
    assert found.annotated == LESION_NAMES and found.laterality == ""
    assert found.absent == ("haemorrhages", "soft_exudates")
    aneurysms, exudates = found.present
    assert (aneurysms.lesion, aneurysms.count, aneurysms.quadrants) == (
        "microaneurysms",
        3,
        ("upper left", "upper right"),
    )
    assert (exudates.lesion, exudates.count, exudates.quadrants) == ("hard_exudates", 1, ("lower left",))
    assert aneurysms.area == pytest.approx(51 / (np.pi * 80**2), rel=0.03)
    assert exudates.area == pytest.approx(25 / (np.pi * 80**2), rel=0.03)


@pytest.mark.parametrize(("x", "eye", "place"), [(155, "right", "superotemporal"), (45, "left", "superonasal")])
def test_the_disc_lies_nasal(x, eye, place):
    found = measure_findings(photograph(), {"optic_disc": spots((x, 100), half=8), "haemorrhages": spots((70, 70))})
    assert found.laterality == eye and found.present[0].quadrants == (place,)


def test_a_disc_in_the_middle_does_not_tell_the_eye():
    found = measure_findings(photograph(), {"optic_disc": spots((104, 100), half=8), "haemorrhages": spots((70, 70))})
    assert found.laterality == "" and found.present[0].quadrants == ("upper left",)


def test_masks_are_measured_at_their_own_resolution():
    small = {"haemorrhages": spots((70, 70), (130, 130)), "optic_disc": spots((155, 100), half=8)}
    large = {
        n: cv2.resize(m.astype(np.uint8), (800, 800), interpolation=cv2.INTER_NEAREST) > 0 for n, m in small.items()
    }
    a, b = measure_findings(photograph(), small), measure_findings(photograph(), large)
    assert a.present[0].area == pytest.approx(b.present[0].area, rel=0.03)
    assert (a.present[0].quadrants, a.laterality) == (b.present[0].quadrants, b.laterality)


def test_masks_that_do_not_fit_are_refused():
    with pytest.raises(DataError, match=r"'haemorrhages' is \(200, 100\) pixels, its photograph \(200, 200\)"):
        measure_findings(photograph(), {"haemorrhages": np.zeros((100, 200), bool)})
    with pytest.raises(DataError, match="drusen are not among"):
        measure_findings(photograph(), {"drusen": spots()})


def test_plain_values_come_back():
    found = measure_findings(photograph(), {"haemorrhages": spots((70, 70)), "optic_disc": spots((155, 100), half=8)})
    assert Findings.from_dict(json.loads(json.dumps(found.to_dict()))) == found


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"present": []}, None),
        ({"laterality": "middle"}, "laterality"),
        ({"annotated": ["drusen"]}, "drusen"),
        ({"annotated": ["microaneurysms"]}, "only"),
        ({"present": [{"lesion": "haemorrhages", "count": 0, "area": 0.1, "quadrants": ["upper left"]}]}, "count >= 1"),
        ({"present": [{"lesion": "haemorrhages", "count": 1, "area": 0.1, "quadrants": ["superonasal"]}]}, "quadrants"),
        ({"present": [{"lesion": "haemorrhages"}]}, "no findings"),
        ({"present": None}, "no findings"),
    ],
)
def test_values_that_are_no_findings_are_refused(change, told):
    found = Findings(LESION_NAMES, (LesionFinding("haemorrhages", 2, 0.1, ("upper left",)),), "").to_dict()
    if told is None:
        assert Findings.from_dict(found | change).absent == LESION_NAMES
        return
    with pytest.raises(DataError, match=told):
        Findings.from_dict(found | change)


def test_the_field_gives_none_where_nothing_is_annotated():
    found = Findings(("haemorrhages",), (), "")
    field, pre = FindingsField({"a": found}), Preprocessing(32, (0.5,) * 3, (0.5,) * 3)
    assert field.collate([field.load(FieldSample(i, "", pre)) for i in ("a", "b")]) == [found, None]


def test_kept_findings_follow_the_contents_of_the_files(synthetic_idrid, tmp_path):
    row = lesion_mask_files(synthetic_idrid).iloc[0]
    files = {n: row[n] for n in (*LESION_NAMES, "optic_disc") if row[n]}
    lesion = next(n for n in LESION_NAMES if n in files)
    first = measure_files({"a": files}, {"a": row["path"]}, tmp_path, progress=None)
    kept = list((tmp_path / "findings").glob("*.json"))
    assert len(kept) == 1 and Findings.from_dict(decode(kept[0].read_bytes().strip())) == first["a"]
    # What is kept is what is given, as long as the files are the same; damaged files are measured anew.
    stored = first["a"].to_dict()
    stored["present"][0]["count"] = 77
    kept[0].write_bytes(encode(stored))
    assert measure_files({"a": files}, {"a": row["path"]}, tmp_path, progress=None)["a"].present[0].count == 77
    for damaged in (b"{", b"[" * 100_000, encode(stored).replace(b"77", b"78"), json.dumps(stored).encode()):
        kept[0].write_bytes(damaged)
        assert measure_files({"a": files}, {"a": row["path"]}, tmp_path, progress=None) == first
    changed = tmp_path / "changed.png"
    mask = read_mask(files[lesion])
    mask[: mask.shape[0] // 2] = False
    mask[-1, mask.shape[1] // 2] = True
    cv2.imwrite(str(changed), mask.astype(np.uint8) * 255)
    again = measure_files({"a": files | {lesion: str(changed)}}, {"a": row["path"]}, tmp_path, progress=None)
    assert again != first and len(list((tmp_path / "findings").glob("*.json"))) == 2


def test_real_masks_against_scipy(idrid_root, tmp_path):
    files = lesion_mask_files(idrid_root).head(6)
    masks = {
        r.id: {n: getattr(r, n) for n in (*LESION_NAMES, "optic_disc") if getattr(r, n)} for r in files.itertuples()
    }
    found = measure_files(masks, dict(zip(files["id"], files["path"], strict=True)), tmp_path, workers=0, progress=None)
    assert list(found) == list(masks)
    for name, path in zip(files["id"], files["path"], strict=True):
        assert {f.lesion for f in found[name].present} == set(masks[name]) - {"optic_disc"}
        lit = (read_photograph(path).max(axis=2) > 25).mean()
        for finding in found[name].present:
            mask = read_mask(masks[name][finding.lesion])
            assert finding.count == ndimage.label(mask, np.ones((3, 3)))[1]
            assert finding.area == pytest.approx(mask.mean() / lit, rel=0.05)
        disc_x = ndimage.center_of_mass(read_mask(masks[name]["optic_disc"]))[1] / mask.shape[1]
        # Photograph 04 is centred on the disc and tells no eye.
        assert found[name].laterality == ("" if name.endswith("04") else "right" if disc_x > 0.5 else "left")


def test_masks_of_the_cohort_cover_its_graded_photographs(synthetic_idrid, tmp_path):
    masks = graded_masks(synthetic_idrid, tmp_path)
    assert masks and all(name.startswith(("train_", "test_")) for name in masks)
