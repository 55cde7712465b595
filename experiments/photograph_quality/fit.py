"""Fit the verdict on quality: python experiments/photograph_quality/fit.py IDRID_FOLDER.

Training photographs of IDRiD, degraded in eight ways at severities 0 to 5, and pictures of other things. The thresholds
are set on the training photographs that were not fitted on; the figures are of five folds. Writes
src/retinai/quality/model.json and prints the table.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from retinai.data.photographs.field_of_view import find_field_of_view
from retinai.data.photographs.images import read_photograph
from retinai.quality.degradations import KINDS, SEVERITIES, degrade
from retinai.quality.features import NAMES, quality_features

PHOTOGRAPHS, FOLDS, FALSE_ALARMS = 60, 5, 0.005
SHARES = {"usable": 0.1, "reject": 0.02}
MODEL = Path(__file__).resolve().parents[2] / "src/retinai/quality/model.json"


def photographs(root: Path) -> tuple[list[Path], list[Path]]:
    """Return the training photographs that are fitted on, spread over the list, and the others."""
    files = sorted((root / "B. Disease Grading/1. Original Images/a. Training Set").glob("*.jpg"))
    places = set(np.linspace(0, len(files) - 1, PHOTOGRAPHS).astype(int).tolist())
    return [f for i, f in enumerate(files) if i in places], [f for i, f in enumerate(files) if i not in places]


def plain(files: list[Path]) -> np.ndarray:
    """Return the features of photographs as they are, (N, F)."""
    images = map(read_photograph, files)
    return np.array([quality_features(image, find_field_of_view(image)) for image in images])


def thresholds(score: np.ndarray) -> dict[str, float]:
    """Return from which scores photographs are `usable` and `reject`: 10 % and 2 % of good ones, rounded down."""
    falling = np.sort(score)[::-1]
    return {name: float(np.nextafter(falling[int(share * len(score))], 2)) for name, share in SHARES.items()}


def retinas(root: Path) -> dict[str, np.ndarray]:
    """Return features (N, F), fold, kind and severity of each degraded photograph."""
    chosen, _ = photographs(root)
    rows: list[tuple[Any, ...]] = []
    for number, file in enumerate(chosen):
        image = read_photograph(file)
        view = find_field_of_view(image)
        for kind in KINDS:
            for severity in SEVERITIES if kind == "defocus" else list(SEVERITIES)[1:]:
                changed = degrade(image, kind, severity, number, view)
                found = find_field_of_view(changed)
                if found.found:
                    rows.append((quality_features(changed, found), number % FOLDS, kind, severity))
    columns = list(zip(*rows, strict=True))
    return {name: np.array(column) for name, column in zip(("x", "fold", "kind", "severity"), columns, strict=True)}


def others() -> tuple[np.ndarray, np.ndarray]:
    """Return features of crops of pictures of other things, whole and as discs on black, and each one's source."""
    import cv2
    import matplotlib.cbook
    import skimage.data
    from sklearn.datasets import load_sample_images

    names = ("astronaut", "brick", "camera", "chelsea", "clock", "coffee", "coins", "grass", "gravel",
             "hubble_deep_field", "immunohistochemistry", "moon", "page", "rocket", "text", "cell")  # fmt: skip
    pictures = {name: getattr(skimage.data, name)() for name in names}
    pictures |= dict(zip(("china", "flower"), load_sample_images().images, strict=True))
    with matplotlib.cbook.get_sample_data("grace_hopper.jpg") as stream:
        pictures["hopper"] = cv2.cvtColor(
            cv2.imdecode(np.frombuffer(stream.read(), np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB
        )
    generator = np.random.default_rng(0)
    rows, sources = [], []
    for number, picture in enumerate(pictures.values()):
        colour = np.repeat(picture[:, :, None], 3, axis=2) if picture.ndim == 2 else picture[:, :, :3]
        for crop in range(24):
            side = int(min(colour.shape[:2]) * generator.uniform(0.5, 1))
            top, left = (int(generator.integers(0, size - side + 1)) for size in colour.shape[:2])
            square = np.ascontiguousarray(cv2.resize(colour[top : top + side, left : left + side], (600, 600)))
            if crop % 2:
                y, x = np.mgrid[:600, :600]
                square[(x - 300) ** 2 + (y - 300) ** 2 > 290**2] = 0
            if crop % 6 == 0:  # in the colours of a retina
                square = np.clip(square.mean(axis=2, keepdims=True) * [1.3, 0.6, 0.25], 0, 255).astype(np.uint8)
            view = find_field_of_view(square)
            if view.found:
                rows.append(quality_features(square, view))
                sources.append(number)
    return np.array(rows), np.array(sources)


def fit_kinds(x: np.ndarray, kind: np.ndarray, severity: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Return the kinds and the weights (1 + K, F + 1) of a multinomial model; the first row is a good photograph."""
    labels = np.where(severity <= 1, "", kind)
    used = severity != 2
    model = LogisticRegression(C=1.0, max_iter=3000, class_weight="balanced").fit(x[used], labels[used])
    return list(model.classes_[1:]), np.column_stack([model.coef_, model.intercept_])


def scores(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return 1 - P(good), shape (N,)."""
    logits = np.column_stack([x, np.ones(len(x))]) @ weights.T
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return 1 - shares[:, 0] / shares.sum(axis=1)


def fit_retina(good: np.ndarray, bad: np.ndarray) -> np.ndarray:
    """Return the weights (F + 1,) of retina against other things."""
    x, y = np.vstack([good, bad]), np.repeat([1, 0], [len(good), len(bad)])
    model = LogisticRegression(C=1.0, max_iter=3000, class_weight="balanced").fit(x, y)
    return np.append(model.coef_[0], model.intercept_[0])


def main() -> None:
    """Fit, tell, write."""
    eyes, (other, source) = retinas(Path(sys.argv[1])), others()
    mean, scale = eyes["x"].mean(axis=0), eyes["x"].std(axis=0)
    x, strange = (eyes["x"] - mean) / scale, (other - mean) / scale
    fold, kind, severity = eyes["fold"], eyes["kind"], eyes["severity"]
    score, retina = np.zeros(len(x)), np.zeros(len(x))
    for held in range(FOLDS):
        rest = fold != held
        score[~rest] = scores(x[~rest], fit_kinds(x[rest], kind[rest], severity[rest])[1])
        retina[~rest] = np.column_stack([x[~rest], np.ones((~rest).sum())]) @ fit_retina(x[rest], strange)
    strangers = np.zeros(len(strange))
    for held in np.unique(source):
        out = source == held
        strangers[out] = np.column_stack([strange[out], np.ones(out.sum())]) @ fit_retina(x, strange[~out])
    border = float(np.quantile(retina[severity <= 2], FALSE_ALARMS))
    kinds, weights = fit_kinds(x, kind, severity)
    borders = thresholds(scores((plain(photographs(Path(sys.argv[1]))[1]) - mean) / scale, weights))
    reject = borders["reject"]
    print("| kind |", " | ".join(f"severity {s}" for s in SEVERITIES), "| AUROC, 3 and more against 0 and 1 |")
    for name in KINDS:
        own = kind == name
        shares = [(score[(own | (severity == 0)) & (severity == s)] >= reject).mean() for s in SEVERITIES]
        low, high = score[severity <= 1], score[own & (severity >= 3)]
        auroc = roc_auc_score(np.repeat([0, 1], [len(low), len(high)]), np.concatenate([low, high]))
        print(f"| {name} |", " | ".join(f"{share:.2f}" for share in shares), f"| {auroc:.3f} |")
    found = (strangers < border).mean()
    print(f"no retina: {found:.3f} of {len(strangers)} crops of {len(np.unique(source))} pictures told apart, ",
          f"false alarms {(retina[severity <= 2] < border).mean():.4f}", sep="")  # fmt: skip
    missed = {int(s): round(float((strangers[source == s] >= border).mean()), 2) for s in np.unique(source)}
    print("missed by picture:", {s: m for s, m in missed.items() if m})
    content = {
        "features": list(NAMES), "mean": mean.tolist(), "scale": scale.tolist(), "kinds": kinds,
        "weights": weights.tolist(), **borders,
        "retina_weights": fit_retina(x, strange).tolist(), "retina": 1 / (1 + float(np.exp(-border))),
        "fitted_on": f"{PHOTOGRAPHS} training photographs of IDRiD, {len(x)} degraded copies; {len(strange)} crops",
    }  # fmt: skip
    MODEL.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
