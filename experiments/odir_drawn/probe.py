"""A probe on frozen features that is fitted on one drawn cohort of ODIR and measured on another.

python experiments/odir_drawn/probe.py one one.npz other other.npz

`retinai probe` stays within one data set. Here a logistic regression for each label is fitted on the photographs of the
first cohort outside of its test part and measured on all labelled photographs of the second, for several strengths of
the regularisation, because the strength that would be chosen within the first cohort need not be the best.
"""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from retinai.data.sources.odir import OdirDataModule


def read(root: str, embeddings: str) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Return the labelled rows of a cohort, their features (N, K) and their labels (N, 8)."""
    data = OdirDataModule(root=root)
    data.setup()
    rows = data.table[data.table["split"] != "predict"]
    file = np.load(embeddings)
    features = dict(zip(file["id"].tolist(), file["embedding"].astype(np.float32), strict=True))
    return rows, np.stack([features[name] for name in rows["id"]]), np.array(rows["target"].tolist())


def main(first: str, first_file: str, second: str, second_file: str) -> None:
    """Print F1 of each label and their mean for each strength."""
    rows, features, labels = read(first, first_file)
    _, others, truth = read(second, second_file)
    fitted = (rows["split"] != "test").to_numpy()
    print(f"{fitted.sum()} photographs of {first}, {len(others)} of {second}")
    for strength in (0.001, 0.01, 0.1, 1.0):
        found = [
            make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=5000))
            .fit(features[fitted], labels[fitted, label])
            .predict(others)
            for label in range(labels.shape[1])
        ]
        scores = f1_score(truth, np.stack(found, axis=1), average=None)
        each = " ".join(f"{name} {score:.2f}" for name, score in zip("NDGCAHMO", scores, strict=True))
        print(f"C={strength}: macro F1 {scores.mean():.3f} ({each})")


if __name__ == "__main__":
    main(*sys.argv[1:])
