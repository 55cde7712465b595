"""After the training: thresholds of the masks from validation, and a file of what the test found of lesions."""

from __future__ import annotations

from typing import Any, ClassVar

from retinai.files import read_json, write_json
from retinai.lesion_segmentation.reading import COUNTS, MaskCounting
from retinai.lesion_segmentation.report import PART
from retinai.lesions.pixel_metrics import HALF, MASK_NAMES, best_thresholds
from retinai.modules.stages import Stage, StageContext, TestBest

RESULTS = "lesions.json"
THRESHOLDS = "mask_thresholds"


class ChooseThresholds(Stage):
    """Choose from which probability on a pixel belongs to a mask, and write it into the best checkpoint.

    It is the threshold with the largest F1 of the pixels of the validation photographs with masks; 0.5 for a mask that
    none of them has.
    """

    name = "choose thresholds of masks"
    switch: ClassVar[str | None] = "calibrate"
    splits = ("val",)

    def run(self, context: StageContext) -> None:
        """Fit, store and say what came out."""
        from retinai.modules.checkpoint import store_metadata
        from retinai.prediction.splits import predict_split
        from retinai.prediction.steps import Probabilities

        steps = [Probabilities(), MaskCounting()]
        validated = predict_split(context.load_best(), context.datamodule, "val", steps=steps)
        counts = [one for one in validated.columns[COUNTS] if one is not None]
        chosen = best_thresholds(counts)
        store_metadata(context.folder / "checkpoints" / "best.ckpt", THRESHOLDS, chosen)
        missing = [name.replace("_", " ") for name in MASK_NAMES if name not in chosen]
        told = [
            f"thresholds of masks: chosen on {len(counts)} validation photograph{'s' * (len(counts) != 1)} with masks"
        ]
        if missing:
            told.append(f"no validation photograph has {', '.join(missing)}: the threshold stays at {HALF}")
        context.say(told)
        context.notes.extend(told)


class TestMasks(TestBest):
    """The test of every grader, with what it found of lesions as a file of its own, `lesions.json`."""

    def run(self, context: StageContext) -> dict[str, Any]:
        """Return the metrics, each with its interval, under `metrics`."""
        told = super().run(context)
        write_json(context.folder / RESULTS, read_json(context.folder / "metrics.json")[PART])
        return told
