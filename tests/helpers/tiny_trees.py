"""Tiny trees in the owners' layouts, for the tests of the datamodules."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

PREPROCESSING = {"input_size": 32, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.25, 0.3]}


def photograph(number: int, side: int = 64) -> np.ndarray:
    """Return a field of view with a pattern of its own, BGR."""
    coarse = np.random.default_rng(number).integers(40, 230, (6, 6, 3), dtype=np.uint8)
    image = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    mask = np.zeros((side, side), np.uint8)
    cv2.circle(mask, (side // 2, side // 2), side // 2 - 3, 1, -1)
    return image * mask[:, :, None]


def write_image(path: Path, number: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), photograph(number))
    return path


def write_aptos(root: Path, grades: list[int], unlabelled: int = 0, first: int = 0) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    names = [f"{first + i:012x}" for i in range(len(grades))]
    lines = [f"{name},{grade}" for name, grade in zip(names, grades, strict=True)]
    (root / "train.csv").write_text("id_code,diagnosis\n" + "\n".join(lines) + "\n")
    for number, name in enumerate(names):
        write_image(root / "train_images" / f"{name}.png", first + number)
    if unlabelled:
        names = [f"{900_000 + i:012x}" for i in range(unlabelled)]
        (root / "test.csv").write_text("id_code\n" + "\n".join(names) + "\n")
        for number, name in enumerate(names):
            write_image(root / "test_images" / f"{name}.png", 900_000 + number)
    return root


def write_idrid(root: Path, train: list[tuple[int, int]], test: list[tuple[int, int]]) -> Path:
    """Write part B; both parts number from 001, and the header has the owners' space and empty columns."""
    parts = (("a. Training Set", "a. IDRiD_Disease Grading_Training Labels.csv", train, 0),
             ("b. Testing Set", "b. IDRiD_Disease Grading_Testing Labels.csv", test, 5000))  # fmt: skip
    for folder, file, labels, first in parts:
        text = "Image name,Retinopathy grade,Risk of macular edema ,,,,,,,,,\r\n"
        for number, (grade, dme) in enumerate(labels, start=1):
            name = f"IDRiD_{number:03d}"
            text += f"{name},{grade},{dme},,,,,,,,,\r\n"
            write_image(root / "B. Disease Grading" / "1. Original Images" / folder / f"{name}.jpg", first + number)
        path = root / "B. Disease Grading" / "2. Groundtruths" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    return root
