"""The verdict on a photograph: good, usable or reject, with the reason in words; or that it shows no retina."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retinai.data.photographs.field_of_view import FieldOfView
from retinai.quality.features import NAMES, quality_features

MODEL_FILE = Path(__file__).parent / "model.json"
VERDICTS = ("good", "usable", "reject")
NO_RETINA = "no_retina"
# What is wrong -> the reason in words.
REASONS = {
    "defocus": "out of focus",
    "motion": "blurred by motion",
    "haze": "hazy",
    "dark": "too dark",
    "bright": "too bright",
    "uneven": "unevenly lit",
    "cut": "part of the retina is covered or cut off",
    "jpeg": "damaged by compression",
    NO_RETINA: "it does not look like a colour photograph of the retina",
}


@dataclass(frozen=True)
class Quality:
    """The verdict on a photograph.

    Args:
        verdict: `good`, `usable` or `reject`.
        fault: A key of `REASONS`: what most likely is wrong; empty for a good one.
        score: 0 (as good as those that were fitted on) to 1.
        retina: How much it looks like a colour photograph of the retina, 0 to 1.
    """

    verdict: str
    fault: str
    score: float
    retina: float

    @property
    def reason(self) -> str:
        """What is wrong in words; empty for a good photograph."""
        return REASONS.get(self.fault, "")


@dataclass(frozen=True, eq=False)
class _Model:
    """Two logistic models of standardised features: what is wrong (one class per kind, and none), and retina or not."""

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    kinds: tuple[str, ...]
    weights: NDArray[np.float64]
    usable: float
    reject: float
    retina_weights: NDArray[np.float64]
    retina: float


def judge(image: NDArray[np.uint8], view: FieldOfView) -> Quality:
    """Return the verdict on a photograph.

    Args:
        image: Photograph, uint8, (H, W, 3), RGB, at least as large as the copy in which fields of view are looked for.
        view: Its field of view.
    """
    return judge_features(quality_features(image, view))


def judge_features(features: NDArray[np.float64]) -> Quality:
    """Return the verdict on the features of a photograph, see `quality_features`."""
    model = _model()
    values = np.append((features - model.mean) / model.scale, 1.0)
    retina = float(1 / (1 + np.exp(-values @ model.retina_weights)))
    logits = model.weights @ values
    shares = np.exp(logits - logits.max())
    shares /= shares.sum()
    score = float(1 - shares[0])
    fault = model.kinds[int(np.argmax(shares[1:]))]
    if retina < model.retina:
        return Quality("reject", NO_RETINA, score, retina)
    verdict = "reject" if score >= model.reject else "usable" if score >= model.usable else "good"
    return Quality(verdict, "" if verdict == "good" else fault, score, retina)


@functools.cache
def _model() -> _Model:
    """Read what `experiments/photograph_quality/fit.py` wrote."""
    content = json.loads(MODEL_FILE.read_text(encoding="utf-8"))
    if tuple(content["features"]) != NAMES:
        raise ValueError("quality/model.json was fitted on other features; fit it again")
    return _Model(
        mean=np.array(content["mean"]), scale=np.array(content["scale"]), kinds=tuple(content["kinds"]),
        weights=np.array(content["weights"]), usable=float(content["usable"]), reject=float(content["reject"]),
        retina_weights=np.array(content["retina_weights"]), retina=float(content["retina"]),
    )  # fmt: skip
