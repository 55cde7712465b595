"""Operating points, thresholds and sets of several networks, chosen on photographs that they were not trained on.

The folds of a cross-validation leave every photograph to a network that never saw it. Each photograph is graded by the
networks that it was held out from, and what they say of all photographs is pooled. A promise that rests on it (sets,
`sensitivity_90_bound`) is one for those networks: the mean of all is another grader, as a rule a better one, so that
what was promised has to be looked at on photographs that none of them has seen. Where all networks share one split,
they are all asked about its validation part, and the promise is that of a single checkpoint.

Source: Vovk, "Cross-conformal predictors", Annals of Mathematics and Artificial Intelligence 74, 2015, for the pooling;
    no bound that holds for certain is known of it, and for its stricter form one of 1 - 2 (1 - level) (Barber, Candes,
    Ramdas & Tibshirani, "Predictive inference with the jackknife+", Annals of Statistics 49, 2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from omegaconf import open_dict

from retinai.data.curation.known_split import KnownSplit
from retinai.data.curation.splits import LEFT_OUT
from retinai.ensembles.module import EnsembleGrader
from retinai.ensembles.opening import checkpoint_paths, joined_split
from retinai.errors import UserError
from retinai.modules.grading import GradingModule
from retinai.prediction.calibration.fitting import fit_points
from retinai.prediction.outside import DISTANCE, choose_limit
from retinai.prediction.predictions import Predictions, concatenate
from retinai.prediction.splits import predict_split
from retinai.run.checkpoint_data import known_split_of, open_data

if TYPE_CHECKING:
    from omegaconf import DictConfig

# The part in which a member finds the photographs that it grades.
_GRADED = "val"
_NONE = "no operating points and no sets"


def calibrate_ensemble(module: GradingModule, cfg: DictConfig) -> list[str]:
    """Choose operating points, thresholds and sets of an ensemble, and keep them as its calibration.

    Args:
        module: What `open_grader` gave; a single checkpoint keeps its own calibration.
        cfg: Of a command: `ckpt`, `calibrate`, `data` (None: that of the training), `paths`, and perhaps `accelerator`,
            `batch_size` and `num_workers`.

    Returns:
        Sentences about what was chosen, or why nothing was.

    Raises:
        UserError: If `data=` names the data of the training, and it cannot be used.
    """
    if not isinstance(module, EnsembleGrader) or not cfg.calibrate:
        return []
    paths = checkpoint_paths(cfg.ckpt)
    try:
        splits = _splits(paths, module)
    except UserError as error:
        return [f"{_NONE}: {error}"]
    own = dict(module.members[0].data_config or {})
    given = cfg.get("data") is not None and cfg.data.get("name") == own.get("name")
    pooled, asked = _pool(module, paths[0], splits, cfg) if given else (None, [0, 0])
    if pooled is None:  # the data that is given is not that of the training
        try:
            pooled, asked = _pool(module, paths[0], splits, _without_data(cfg))
        except UserError as error:
            return [f"{_NONE}: the photographs of the training cannot be used ({error})"]
    if pooled is None:
        return [f"{_NONE}: no photograph of the training was held out from one of the checkpoints"]
    if DISTANCE in pooled.columns and len(module.members) > 1:
        known = module.described
        far = np.asarray(pooled.columns[DISTANCE])
        module.outside = choose_limit(far, known[0].false_alarms, max(one.n for one in known))
    about = {"networks": len(module.members), "asked": asked, "answers": module.passes.answers}
    module.calibration, notes = fit_points(pooled, about)
    if module.calibration is None:
        return notes
    if len(module.members) == 1:
        told = f"operating points and sets were chosen anew on {len(pooled)} validation photographs, graded in this way"
        return [told, *notes]
    low, high = asked
    told = f"{low}" if low == high else f"{low} to {high}"
    return [
        f"operating points and sets were chosen on {len(pooled)} photographs of the training, each graded by those of "
        f"the {len(module.members)} networks that were not trained on it ({told})",
        *notes,
    ]


def graders(splits: Sequence[KnownSplit]) -> dict[str, list[int]]:
    """Return which networks are asked about each photograph, by the hash of its id.

    Of the networks that were not trained on it: those that were not chosen on it either, and where there are none,
    those that were chosen on it. Photographs that no network has seen are for the test, and are not among these.

    Args:
        splits: Of the networks, at least one.
    """
    found = {}
    for key, part in joined_split(splits).parts.items():
        if part not in ("train", "val"):
            continue
        parts = [split.parts.get(key) for split in splits]
        for held_out in ("test", "val"):
            asked = [number for number, own in enumerate(parts) if own == held_out]
            if asked:
                found[key] = asked
                break
    return found


def _splits(paths: Sequence[Path], ensemble: EnsembleGrader) -> list[KnownSplit]:
    """Return what each member was trained on.

    Raises:
        UserError: If that is not known, or they were trained on different data sets.
    """
    names = {str((member.data_config or {}).get("name")) for member in ensemble.members}
    if len(names) > 1:
        raise UserError(f"the checkpoints were trained on different data ({', '.join(sorted(names))})")
    found = []
    for path, member in zip(paths, ensemble.members, strict=True):
        split = known_split_of(member, path)
        if split is None:
            raise UserError(f"it is not known which photographs {path} was trained on")
        found.append(split)
    return found


def _pool(
    ensemble: EnsembleGrader, path: Path, splits: Sequence[KnownSplit], cfg: DictConfig
) -> tuple[Predictions | None, list[int]]:
    """Return the mean of those networks that are asked about each photograph, and the fewest and most that are."""
    asked = graders(splits)
    parts = []
    for number, member in enumerate(ensemble.members):
        own = [key for key, members in asked.items() if number in members]
        if not own:
            continue
        datamodule, _ = open_data(cfg, member, path)
        everything = {key: LEFT_OUT for split in splits for key in split.parts}
        datamodule.follow(KnownSplit({**everything, **dict.fromkeys(own, _GRADED)}))
        datamodule.setup()
        if (datamodule.table["split"] == _GRADED).any():
            accelerator = str(cfg.get("accelerator") or "auto")
            grader = EnsembleGrader.of([member], ensemble.passes)
            parts.append(predict_split(grader, datamodule, _GRADED, accelerator=accelerator))
    return _mean_of_each(parts) if parts else (None, [0, 0])


def _without_data(cfg: DictConfig) -> DictConfig:
    """Return a configuration that asks for the data of the training."""
    cfg = cfg.copy()
    with open_dict(cfg):
        cfg.data = None
    return cfg


def _mean_of_each(parts: list[Predictions]) -> tuple[Predictions, list[int]]:
    """Return one row for each photograph: the mean of what is said of it; and the fewest and most that said it."""
    pooled = concatenate(parts)
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(pooled.ids):
        rows.setdefault(name, []).append(row)
    firsts = [found[0] for found in rows.values()]
    means = np.stack([pooled.probabilities[found].mean(axis=0) for found in rows.values()])
    counts = [len(found) for found in rows.values()]
    columns = {}
    if all(DISTANCE in part.columns for part in parts):
        far = np.concatenate([np.asarray(part.columns[DISTANCE]) for part in parts])
        columns = {DISTANCE: [float(far[found].mean()) for found in rows.values()]}
    return replace(pooled.take(firsts), probabilities=means, decided=None, columns=columns), [min(counts), max(counts)]
