"""What the words know without the photograph: grades for a blank photograph, and for the photographs of others.

python experiments/llava_small/controls.py RUN

The question is the same for every photograph, so a grade follows from the photograph alone: to show each photograph's
question with another's pixels is to exchange the predictions, and no network has to run for it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import accuracy_score, cohen_kappa_score, f1_score

from retinai.metrics.decisions import decide
from retinai.modules.load import load_module
from retinai.run.finished import load_runs

_DRAWS = 1000


def main(folder: str) -> None:
    """Print the table of one run.

    Args:
        folder: The run folder.
    """
    runs, damaged = load_runs([folder])
    if damaged:
        sys.exit(f"{folder}: {damaged[0].reason}")
    predictions = runs[0].predictions
    truth, given = np.asarray(predictions.targets), decide(predictions.probabilities, predictions.decision_rule)
    _row("photographs", truth, given)
    generator = np.random.default_rng(0)
    draws = [_measure(truth, generator.permutation(given)) for _ in range(_DRAWS)]
    low, middle, high = np.percentile(draws, [2.5, 50, 97.5], axis=0)
    print(
        "shuffled     " + "  ".join(f"{m:.3f} ({a:.3f} to {b:.3f})" for a, m, b in zip(low, middle, high, strict=True))
    )
    module = load_module(Path(folder) / "checkpoints" / "best.ckpt")
    side = module.preprocessing.input_size
    black = -torch.tensor(module.preprocessing.mean) / torch.tensor(module.preprocessing.std)
    with torch.no_grad():
        chances = module.predict_probabilities(black.view(1, 3, 1, 1).expand(1, 3, side, side).contiguous())
    print("blank: " + ", ".join(f"{value:.3f}" for value in chances[0].tolist()))
    _row("blank", truth, np.full_like(given, int(decide(chances.double().numpy(), predictions.decision_rule)[0])))


def _measure(truth: np.ndarray, given: np.ndarray) -> tuple[float, float, float]:
    """Return quadratic weighted kappa, accuracy and macro F1."""
    kappa = 0.0 if len(set(given)) == 1 else cohen_kappa_score(truth, given, weights="quadratic")
    return kappa, accuracy_score(truth, given), f1_score(truth, given, average="macro", zero_division=0)


def _row(name: str, truth: np.ndarray, given: np.ndarray) -> None:
    print(f"{name:12} " + "  ".join(f"{value:.3f}" for value in _measure(truth, given)))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
