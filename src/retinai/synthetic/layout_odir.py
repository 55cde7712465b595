"""The trees of ODIR-5K: the owner's workbook, Kaggle's full_df.csv, and the course's parts."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from retinai.files import write_text
from retinai.synthetic.devices import cameras_of
from retinai.synthetic.patients import Patient, draw_patients, flags_of
from retinai.synthetic.photograph import Photograph, encode
from retinai.synthetic.shots import Facts, Plan, Shot, plan_rng
from retinai.synthetic.tables import write_xlsx
from retinai.tasks.known import ODIR_8, ODIR_COURSE

_EYES = ("left", "right")
_HEADER = (
    "ID",
    "Patient Age",
    "Patient Sex",
    "Left-Fundus",
    "Right-Fundus",
    "Left-Diagnostic Keywords",
    "Right-Diagnostic Keywords",
    *ODIR_8.classes,
)
_WORKBOOK = "ODIR-5K_Training_Annotations(Updated)_V2.xlsx"
_KAGGLE = "ODIR-5K/ODIR-5K"
_KAGGLE_PATH = "../input/ocular-disease-recognition-odir5k/ODIR-5K/Training Images/"
# Shares of the course's parts: 800, 200, 200 and 250 photographs.
_COURSE = (("train", "train.csv", 800), ("val", "val.csv", 200), ("offsite_test", "offsite_test.csv", 200))
_ONSITE = ("onsite_test", "onsite_test_submission.csv", 250)


def plan_odir(n: int, size: int, seed: int, camera: str = "mixed") -> Plan:
    """Plan the owner's tree: the workbook, `Training Images/`, and `Testing Images/` without labels.

    Args:
        n: Labelled photographs, two for each patient (rounded up).
        size: Longer side in pixels.
        seed: Seed of the cohort.
        camera: Of `devices.cameras_of`.
    """
    cohort = _draw(n, seed, camera)
    shots = cohort.shots(size, ("Training Images/",), ("Testing Images/",))

    def finish(folder: Path, facts: Sequence[Facts]) -> None:
        write_xlsx(folder / _WORKBOOK, _HEADER, [_row(p, as_text=i != 0) for i, p in enumerate(cohort.patients)])

    return Plan(shots, finish)


def plan_odir_kaggle(n: int, size: int, seed: int, camera: str = "mixed") -> Plan:
    """Plan Kaggle's tree: `full_df.csv`, `preprocessed_images/`, and the owner's tree two folders down.

    In `full_df.csv` the columns N to O speak of the patient, `labels` and `target` of the eye.

    Args:
        n: Labelled photographs, two for each patient (rounded up).
        size: Longer side in pixels.
        seed: Seed of the cohort.
        camera: Of `devices.cameras_of`.
    """
    cohort = _draw(n, seed, camera)
    shots = cohort.shots(size, (f"{_KAGGLE}/Training Images/",), (f"{_KAGGLE}/Testing Images/",))
    seen = [bool(record.classes) for patient in cohort.patients for record in patient.eyes]
    for number in np.flatnonzero(seen):  # eyes without a fundus are no part of Kaggle's additions
        shots[number] = replace(shots[number], writer=SquareWriter(Path(shots[number].files[0]).name, size))

    def finish(folder: Path, facts: Sequence[Facts]) -> None:
        rows = [_row(p, as_text=False) for p in cohort.patients]
        write_xlsx(folder / _KAGGLE / "data.xlsx", _HEADER, rows)
        header = [*_HEADER, "filepath", "labels", "target", "filename"]
        # All right eyes come first, as in Kaggle's file.
        lines = [_kaggle_row(p, eye) for eye in (1, 0) for p in cohort.patients if p.eyes[eye].classes]
        _write_csv(folder / "full_df.csv", header, lines)

    return Plan(shots, finish)


class SquareWriter:
    """Writes Kaggle's `preprocessed_images/`: cropped to the field of view and made square.

    Args:
        name: Name of the file.
        side: Side in pixels.
    """

    def __init__(self, name: str, side: int) -> None:
        self.name, self.side = name, side

    def __call__(self, photograph: Photograph, folder: Path) -> None:
        """Write the photograph below the cohort's folder."""
        frame = photograph.frame
        left, right = (round(frame.centre[0] + sign * frame.radius) for sign in (-1, 1))
        crop = photograph.image[:, max(0, left) : right + 1]
        square = cv2.resize(crop, (self.side, self.side), interpolation=cv2.INTER_AREA)
        file = folder / "preprocessed_images" / self.name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(encode(np.asarray(square, dtype=np.uint8), ".jpg"))


def plan_odir_course(n: int, size: int, seed: int, camera: str = "mixed") -> Plan:
    """Plan the course's tree: four parts with `id,D,G,A`; as published, patients are shared between parts.

    The labels of the on-site part are zeros to be filled in by who takes part.

    Args:
        n: Photographs of train, val and offsite_test together; the on-site part has a fifth as many more.
        size: Side of the square photographs in pixels; the course's own are 256.
        seed: Seed of the cohort.
        camera: Of `devices.cameras_of`.
    """
    rng = plan_rng(seed)
    onsite = max(4, round(n * _ONSITE[2] / 1200))
    # A few patients more, because eyes without a fundus are no part of the course.
    patients = draw_patients(rng, (n + onsite) // 2 + 4 + (n + onsite) // 50, cameras_of(camera))
    eyes = [(patient, eye) for patient in patients for eye in (0, 1) if patient.eyes[eye].classes][: n + onsite]
    # Eyes, not patients, are dealt to the parts: so are those of the published split.
    eyes = [eyes[int(i)] for i in rng.permutation(len(eyes))]
    counts = [round(n * share / 1200) for _, _, share in _COURSE]
    counts[0] += n - sum(counts)
    shots: list[Shot] = []
    tables: list[tuple[str, list[list[object]]]] = []
    for (name, file, _), count in zip((*_COURSE, _ONSITE), (*counts, onsite), strict=True):
        part, eyes = eyes[:count], eyes[count:]
        rows: list[list[object]] = []
        for patient, eye in part:
            photograph, record = f"{patient.number}_{_EYES[eye]}.jpg", patient.eyes[eye]
            path = f"images/{name}/{photograph}"
            left = eye == 0
            shots.append(Shot(len(shots), (path,), record.findings, "square", size, left, person=patient.person))
            known = file != _ONSITE[1]
            flags = flags_of(record.classes, ODIR_COURSE.classes) if known else [0, 0, 0]
            rows.append([photograph, *flags])
        tables.append((file, rows))

    def finish(folder: Path, facts: Sequence[Facts]) -> None:
        for file, rows in tables:
            _write_csv(folder / file, ["id", *ODIR_COURSE.classes], rows)

    return Plan(shots, finish)


@dataclass(frozen=True)
class _Cohort:
    patients: list[Patient]
    unlabelled: list[Patient]

    def shots(self, size: int, training: Sequence[str], testing: Sequence[str]) -> list[Shot]:
        """Return one shot per eye; its files lie in all the folders of its part."""
        shots: list[Shot] = []
        for patients, folders in ((self.patients, training), (self.unlabelled, testing)):
            for patient in patients:
                for eye, record in enumerate(patient.eyes):
                    files = tuple(f"{folder}{patient.number}_{_EYES[eye]}.jpg" for folder in folders)
                    person, left = patient.person, eye == 0
                    shots.append(Shot(len(shots), files, record.findings, person.camera, size, left, person=person))
        return shots


def _draw(n: int, seed: int, camera: str) -> _Cohort:
    rng, cameras = plan_rng(seed), cameras_of(camera)
    patients = draw_patients(rng, (n + 1) // 2, cameras)
    # The owner numbers the patients without labels on from those with labels, with a gap.
    unlabelled = draw_patients(rng, max(8, n // 40), cameras)[: max(2, n // 40)]
    first = (patients[-1].number // 100 + 1) * 100
    return _Cohort(patients, [replace(p, number=first + p.number) for p in unlabelled])


def _row(patient: Patient, as_text: bool) -> list[object]:
    """Return the owner's row; IDs are text in all rows but one."""
    number: object = str(patient.number) if as_text else patient.number
    files = [f"{patient.number}_{eye}.jpg" for eye in _EYES]
    words = [record.text for record in patient.eyes]
    return [number, patient.age, patient.sex, *files, *words, *patient.flags]


def _kaggle_row(patient: Patient, eye: int) -> list[object]:
    file = f"{patient.number}_{_EYES[eye]}.jpg"
    classes = patient.eyes[eye].classes
    # One class per eye, as Kaggle's decoding gives it: the first in the order of ODIR_8.
    first = next(name for name in ODIR_8.classes if name in classes)
    target = [int(v) for v in np.array(ODIR_8.classes) == first]
    return [*_row(patient, as_text=False), _KAGGLE_PATH + file, f"['{first}']", str(target), file]


def _write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_text(path, text.getvalue())
