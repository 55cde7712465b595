"""How much of the grade can be read from frozen ImageNet features, by resolution and contrast option.

    python experiments/idrid_baseline/probe.py data.root=/data/idrid

A cheap look before anything is fine-tuned: mean, maximum and spread of the feature map after each
stage of EfficientNet-Lite0, a support-vector regression on them, and the quadratic weighted kappa
of the rounded prediction, pooled over the same five folds of the training photographs that the
study uses. The official test photographs take no part.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from sklearn.metrics import accuracy_score, cohen_kappa_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR

from retinai.config.compose import compose
from retinai.data.datamodule import FundusDataModule
from retinai.encoders.encoder import Encoder, build_encoder
from retinai.run.factories import make_datamodule, plain

SETTINGS = ((384, False), (512, False), (640, False), (640, True))
STAGES = (3, 4, 5, 6)
FOLDS = 5


def main(overrides: list[str]) -> None:
    """Print one row per setting and stage."""
    print(f"{'pixels':>6}  {'Graham':>6}  {'stage':>5}  {'QWK':>6}  {'accuracy':>8}")
    for size, graham in SETTINGS:
        options = [f"backbone.input_size={size}", f"data.preprocess.ben_graham={str(graham).lower()}", *overrides]
        cfg = compose("train", ["data=idrid", "augment=none", f"data.folds={FOLDS}", *options])
        held_out = fold_members(cfg)
        features, grades = stage_features(build_encoder(plain(cfg.backbone)), make_datamodule(cfg))
        for stage in STAGES:
            predicted = cross_validate(features[stage], grades, held_out)
            kappa = cohen_kappa_score(list(grades.values()), list(predicted.values()), weights="quadratic")
            accuracy = accuracy_score(list(grades.values()), list(predicted.values()))
            print(f"{size:>6}  {'yes' if graham else 'no':>6}  {stage:>5}  {kappa:6.3f}  {accuracy:8.3f}", flush=True)


def fold_members(cfg) -> list[list[str]]:
    """Return the ids that each fold holds out."""
    members = []
    for fold in range(FOLDS):
        cfg.data.fold = fold
        datamodule = make_datamodule(cfg)
        members.append(datamodule.split_table("test")["id"].tolist())
    return members


def stage_features(
    encoder: Encoder, datamodule: FundusDataModule
) -> tuple[dict[int, dict[str, np.ndarray]], dict[str, int]]:
    """Return the pooled features of each stage and the grade, by photograph."""
    pooled: dict[int, torch.Tensor] = {}

    def keep(stage: int):
        def hook(module, inputs, output: torch.Tensor) -> None:
            pooled[stage] = torch.cat([output.mean((2, 3)), output.amax((2, 3)), output.std((2, 3))], dim=1)

        return hook

    for stage in STAGES:
        encoder.net.blocks[stage].register_forward_hook(keep(stage))
    encoder.eval().to(memory_format=torch.channels_last)
    features: dict[int, dict[str, np.ndarray]] = {stage: {} for stage in STAGES}
    grades: dict[str, int] = {}
    datamodule.setup()
    with torch.inference_mode():
        for split in ("val", "test", "train"):
            datamodule.batch_size = 1  # the training loader would leave out what does not fill a batch
            for batch in datamodule.loader(split):
                encoder(batch["image"].contiguous(memory_format=torch.channels_last))
                grades |= dict(zip(batch["id"], batch["target"].tolist(), strict=True))
                for stage in STAGES:
                    features[stage] |= dict(zip(batch["id"], pooled[stage].numpy(), strict=True))
    return features, grades


def cross_validate(features: dict[str, np.ndarray], grades: dict[str, int], folds: list[list[str]]) -> dict[str, int]:
    """Return the rounded prediction of each photograph from the other folds, in the order of `grades`."""
    predicted: dict[str, int] = {}
    for members in folds:
        outside = [name for name in grades if name not in set(members)]
        model = make_pipeline(StandardScaler(), SVR(C=1.0, epsilon=0.1))
        model.fit([features[name] for name in outside], [grades[name] for name in outside])
        values = model.predict([features[name] for name in members])
        predicted |= dict(zip(members, np.clip(np.rint(values), 0, 4).astype(int).tolist(), strict=True))
    return {name: predicted[name] for name in grades}


if __name__ == "__main__":
    main(sys.argv[1:])
