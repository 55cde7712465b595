"""The trees of four more data sets with grades: EyePACS, Messidor-2, DDR, BRSET, each with its owner's oddities."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from retinai.files import write_text
from retinai.synthetic.photograph import Findings
from retinai.synthetic.shots import Facts, Plan, Shot, plan_rng, shares

_GRADES = (0.35, 0.15, 0.25, 0.12, 0.13)
_EYES = ("left", "right")
_BRSET = ("image_id,patient_id,camera,patient_age,comorbidities,diabetes_time_y,insuline,patient_sex,exam_eye,diabetes,"
          "nationality,optic_disc,vessels,macula,DR_SDRG,DR_ICDR,focus,Illuminaton,image_field,artifacts,"
          "diabetic_retinopathy,macular_edema,scar,nevus,amd,vascular_occlusion,hypertensive_retinopathy,drusens,"
          "hemorrhage,retinal_detachment,myopic_fundus,increased_cup_disc,other,quality")  # fmt: skip


def plan_eyepacs(n: int, size: int, seed: int) -> Plan:
    """Plan both eyes of each patient: four fifths in `train/`, the others in `test/` with the solution file.

    Args:
        n: Photographs, two for each patient (rounded up).
        size: Longer side in pixels.
        seed: Seed of the cohort.
    """
    rng = plan_rng(seed)
    testing = 2 * max(5, n // 10)
    parts = (("train", max(n - testing, 10)), ("test", testing))
    shots: list[Shot] = []
    tables: dict[str, list[str]] = {"train": [], "test": []}
    for part, count in parts:
        for number, grade in enumerate(shares(rng, count + count % 2, _GRADES)):
            patient = 10 + number // 2 + (0 if part == "train" else 40_000)
            eye = _EYES[number % 2]
            tables[part].append(f"{patient}_{eye},{grade}")
            shots.append(_shot(len(shots), f"{part}/{patient}_{eye}.jpeg", grade, "aptos", size, eye == "left"))

    def finish(folder: Path, facts: Sequence[Facts]) -> None:
        write_text(folder / "trainLabels.csv", "\n".join(["image,level", *tables["train"]]) + "\n")
        usage = [f"{row},{'Public' if i % 5 == 0 else 'Private'}" for i, row in enumerate(tables["test"])]
        write_text(folder / "retinopathy_solution.csv", "\n".join(["image,level,Usage", *usage]) + "\n")

    return Plan(shots, finish)


def plan_messidor2(n: int, size: int, seed: int) -> Plan:
    """Plan `IMAGES/` and `messidor_data.csv`: half the names in capitals on disk, and two that nobody could grade.

    Args:
        n: Graded photographs.
        size: Longer side in pixels.
        seed: Seed of the cohort.
    """
    rng = plan_rng(seed)
    grades = shares(rng, n, _GRADES)
    shots, names = [], []
    for number in range(n + 2):
        old = number % 2 == 0
        names.append(f"2005102{number % 10}_{43000 + number}_0100_PP.png" if old else f"IM{4000 + number:06d}.jpg")
        file = names[-1] if old else names[-1].replace(".jpg", ".JPG")
        shots.append(_shot(number, f"IMAGES/{file}", grades[number % n], "aptos", size, bool(rng.random() < 0.5)))

    def finish(folder: Path, facts: Sequence[Facts]) -> None:
        rows = [f"{names[i]},{grades[i]},{int(facts[i].dme > 0)},1" for i in range(n)]
        rows += [f"{name},,,0" for name in names[n:]]
        header = "image_id,adjudicated_dr_grade,adjudicated_dme,adjudicated_gradable"
        write_text(folder / "messidor_data.csv", "\n".join([header, *rows]) + "\n")

    return Plan(shots, finish)


def plan_ddr(n: int, size: int, seed: int) -> Plan:
    """Plan `DR_grading/` with its three parts; one photograph in ten of each is of class 5, ungradable.

    Args:
        n: Graded photographs.
        size: Longer side in pixels.
        seed: Seed of the cohort.
    """
    rng = plan_rng(seed)
    val, test = max(5, n // 5), max(5, round(0.3 * n))
    shots: list[Shot] = []
    lines: dict[str, list[str]] = {}
    for part, count in (("train", max(5, n - val - test)), ("valid", val), ("test", test)):
        grades = [*shares(rng, count, _GRADES), *[5] * max(1, count // 10)]
        lines[part] = []
        for grade in grades:
            name = f"007-{len(shots):04d}-000.jpg"
            lines[part].append(f"{name} {grade}")
            shown = grade if grade < 5 else 0
            shots.append(_shot(len(shots), f"DR_grading/{part}/{name}", shown, "aptos", size, bool(rng.random() < 0.5)))

    def finish(folder: Path, facts: Sequence[Facts]) -> None:
        for part, rows in lines.items():
            write_text(folder / "DR_grading" / f"{part}.txt", "\n".join(rows) + "\n")

    return Plan(shots, finish)


def plan_brset(n: int, size: int, seed: int) -> Plan:
    """Plan `fundus_photos/` and `labels_brset.csv`, one to three photographs of each patient.

    Args:
        n: Photographs.
        size: Longer side in pixels.
        seed: Seed of the cohort.
    """
    rng = plan_rng(seed)
    grades = shares(rng, n, _GRADES)
    patients: list[int] = []
    while len(patients) < n:
        patients += [1 + len(set(patients))] * int(rng.integers(1, 4))
    eyes = [1 + int(value) for value in rng.integers(0, 2, n)]
    shots = [_shot(i, f"fundus_photos/img{i + 1:05d}.jpg", grades[i], "aptos", size, eyes[i] == 2) for i in range(n)]
    ages = {patient: "> 90" if patient % 25 == 0 else str(20 + patient % 60) for patient in patients}

    def finish(folder: Path, facts: Sequence[Facts]) -> None:
        rows = [_brset_row(i, patients[i], ages[patients[i]], eyes[i], grades[i], facts[i].dme) for i in range(n)]
        write_text(folder / "labels_brset.csv", "\n".join([_BRSET, *rows]) + "\n")

    return Plan(shots, finish)


def _brset_row(number: int, patient: int, age: str, eye: int, grade: int, dme: int) -> str:
    sex, diabetes = 1 + patient % 2, "yes" if grade else "no"
    person = f"img{number + 1:05d},{patient},Canon CR,{age},,,no,{sex},{eye},{diabetes},Brazil"
    flags = [int(grade > 0), int(dme > 0), *[0] * 11]
    return f"{person},1,1,1,{grade},{grade},1,1,1,1,{','.join(map(str, flags))},Adequate"


def _shot(index: int, file: str, grade: int, style: str, size: int, mirrored: bool) -> Shot:
    return Shot(index, (file,), Findings(grade), style, size, mirrored)


def labels_of(out: Path, layout: str) -> list[int]:
    """Return the grades of a written cohort from its own tables.

    Args:
        out: Folder of the cohort.
        layout: One of the four.
    """
    import pandas as pd

    if layout == "ddr":
        lines = [line for file in sorted((out / "DR_grading").glob("*.txt")) for line in file.read_text().splitlines()]
        return [int(grade) for _, _, grade in (line.rpartition(" ") for line in lines) if int(grade) < 5]
    files = {
        "eyepacs": (("trainLabels.csv", "level"), ("retinopathy_solution.csv", "level")),
        "messidor2": (("messidor_data.csv", "adjudicated_dr_grade"),),
        "brset": (("labels_brset.csv", "DR_ICDR"),),
    }[layout]
    values = [pd.read_csv(out / file)[column].dropna() for file, column in files]
    return np.concatenate(values).astype(int).tolist()
