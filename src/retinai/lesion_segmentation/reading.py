"""From a photograph to masks in its own frame, and to what they say in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from retinai.data.photographs.images import read_photograph
from retinai.data.photographs.normalise import normalise
from retinai.data.photographs.original import Original
from retinai.data.photographs.prepared_pixels import prepare_photograph, to_photograph
from retinai.lesion_segmentation.fields import DrawnFiles, DrawnPhotograph
from retinai.lesions.fields import FindingsField
from retinai.lesions.findings import LESION_NAMES, Findings, measure_findings
from retinai.lesions.mask_files import read_lesion_mask
from retinai.lesions.masks import fit_mask
from retinai.lesions.pixel_metrics import HALF, MASK_NAMES, MaskCounts, count_masks
from retinai.metrics.decisions import decide
from retinai.prediction.steps import PROBABILITY, PredictionStep

if TYPE_CHECKING:
    from retinai.lesion_segmentation.module import LesionGrader

COUNTS, TEXT, PREDICTED, TRUE = "average_precision", "answer", "predicted_findings", "true_findings"


def read_masks(module: LesionGrader, original: Original) -> dict[str, np.ndarray]:
    """Return the probability of each pixel of a photograph for each mask.

    Args:
        module: A trained module, in evaluation mode.
        original: The photograph.

    Returns:
        {name of MASK_NAMES: float32 in [0, 1], (H, W)}, of the size of the photograph.

    Raises:
        BadImageError: If the photograph cannot be read.
    """
    preprocessing = module.mask_preprocessing
    copy = original.copy_for(preprocessing)
    square = prepare_photograph(copy.pixels, preprocessing, copy.found_for(preprocessing))
    images = torch.from_numpy(normalise(square[None], preprocessing)).to(module.device)
    with torch.inference_mode():
        planes = torch.sigmoid(module.mask_logits(images))[0].cpu().numpy()
    return {
        name: to_photograph(plane, copy, preprocessing).clip(0, 1)
        for name, plane in zip(MASK_NAMES, planes, strict=True)
    }


def findings_from(
    photograph: np.ndarray, probabilities: Mapping[str, np.ndarray], thresholds: Mapping[str, float]
) -> Findings:
    """Return what predicted masks say, measured as drawn ones are.

    Args:
        photograph: uint8 RGB, (H, W, 3).
        probabilities: Of `read_masks`.
        thresholds: {mask: from which probability on a pixel belongs to it}; 0.5 for those that are not here.
    """
    masks = {name: values >= thresholds.get(name, HALF) for name, values in probabilities.items()}
    return measure_findings(photograph, masks, LESION_NAMES)


class MaskCounting(PredictionStep):
    """How far predicted masks are the drawn ones: `average_precision`, a photograph's `MaskCounts`.

    None for photographs that nobody drew on; they are not opened. Takes the field `drawn_files` of the batches.
    """

    name = "mask counts"

    def run(self, module: LesionGrader, batch: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
        """Count the pixels of a batch photograph by photograph."""
        files: Sequence[DrawnPhotograph] = batch[DrawnFiles.name]
        return {COUNTS: [None if one.masks is None else _count(module, one, _read(module, one)) for one in files]}


class MaskReading(PredictionStep):
    """What predicted masks say of each photograph, beside what was drawn on it.

    Results: `average_precision`, the pixels of the masks counted (`MaskCounts`; None where nobody drew);
    `predicted_findings`; `answer`, the decided grade and the findings in the words of the templates; `true_findings`,
    what the drawn masks say (None where nobody drew). Without the field `drawn_files` in the batches it finds nothing.
    """

    name = "masks"

    def run(self, module: LesionGrader, batch: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
        """Read the photographs of a batch one by one."""
        files: Sequence[DrawnPhotograph] | None = batch.get(DrawnFiles.name)
        if files is None:
            return {}
        counts, said = [], []
        for one in files:
            probabilities = _read(module, one)
            counts.append(_count(module, one, probabilities))
            said.append(findings_from(read_photograph(one.path), probabilities, module.thresholds))
        true = batch.get(FindingsField.name) or [None] * len(files)
        results = {COUNTS: counts, PREDICTED: said, TRUE: true}
        if not module.tells_findings:
            return results
        grades = decide(found[PROBABILITY].double().cpu().numpy(), module.decision_rule).tolist()
        told = zip(batch["id"], grades, said, strict=True)
        return results | {TEXT: [module.prompts.answer(module.task, grade, one, name) for name, grade, one in told]}


def _read(module: LesionGrader, file: DrawnPhotograph) -> dict[str, np.ndarray]:
    return read_masks(module, Original.read(file.path))


def _count(module: LesionGrader, file: DrawnPhotograph, probabilities: Mapping[str, np.ndarray]) -> MaskCounts | None:
    """Return the pixels counted; None where nobody drew."""
    if file.masks is None:
        return None
    shape = next(iter(probabilities.values())).shape
    masks = {n: fit_mask(read_lesion_mask(f), shape) for n, f in file.masks.items() if n in MASK_NAMES}
    return count_masks(probabilities, masks, module.thresholds)
