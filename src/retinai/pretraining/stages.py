"""What pre-training leaves: the encoder as a file, a sheet of what it reconstructs, its curves."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import retinai
from retinai.encoders.encoder_file import write_encoder_file
from retinai.encoders.registry import seen_before, weight_notes
from retinai.modules.checkpoint import plain
from retinai.modules.stages import Stage, StageContext
from retinai.reports.learning_curves import learning_curves_figure
from retinai.reports.style import save_figure

ENCODER_FILE = "encoder.safetensors"
# Less of the reference's spread or rank than this is told as a collapse.
_LEAST_SHARE = 0.5
_SPLIT_KEYS = ("folds", "fold", "split_seed", "split_file")


class EncoderFile(Stage):
    """Writes the encoder of the best epoch, with where it comes from, for `backbone.weights=`."""

    name = "encoder"
    splits = ("train", "val")

    def run(self, context: StageContext) -> dict[str, Any]:
        """Return the file with its hash, and what it was trained on."""
        best: Any = context.load_best()
        encoder, data, module = best.network.encoder, context.datamodule, context.module
        section, options = plain(best.hparams["backbone"]), context.options
        split = {key: options["data"].get(key) for key in _SPLIT_KEYS}
        if split["split_seed"] is None:
            split["split_seed"] = options["seed"]
        file = context.folder / ENCODER_FILE
        write_encoder_file(
            file,
            encoder.net,
            version=retinai.__version__,
            method=best.model_name,
            backbone=best.backbone_name,
            architecture=getattr(encoder.net, "pretrained_cfg", {}).get("architecture"),
            start=module.start_weights,
            start_sha256=module.reference.sha256,
            photographs=data.source.count_by_set(data.split_table("train")),
            split={key: None if value is None else str(value) for key, value in split.items()},
            epochs=int(context.record["epochs"]),
            score=context.record["best_score"],
            preprocessing=best.preprocessing.to_dict(),
            rights=weight_notes(section),
            seen=seen_before(section),
        )
        context.say([f"the encoder is {file}; use it with backbone={best.backbone_name} backbone.weights={file}"])
        return {"encoder": {"file": ENCODER_FILE, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}}


class Reconstructions(Stage):
    """Draws what the best epoch reconstructs of validation photographs, and tells whether features collapsed."""

    name = "reconstructions"
    splits = ("val",)

    def run(self, context: StageContext) -> dict[str, Any]:
        """Return spread and rank of the features after the last epoch, as shares of the reference's."""
        from retinai.pretraining.sheet import reconstruction_sheet

        figure = reconstruction_sheet(context.load_best(), context.module.reference, context.datamodule)
        save_figure(figure, context.folder / "reconstructions.png")
        shares = _last_values(context.folder / "metrics.csv", ("val/feature_spread", "val/feature_rank"))
        low = [f"{name} {value:.2f}" for name, value in shares.items() if value < _LEAST_SHARE]
        if low:
            sentence = (
                f"features collapsed: {' and '.join(low)} of the start's; lower optimizer.lr=, or train fewer epochs"
            )
            context.say([sentence])
            context.notes.append(sentence)
        return {key.removeprefix("val/"): value for key, value in shares.items()}


class Curves(Stage):
    """Draws the losses, spread and rank over the epochs."""

    name = "curves"

    def run(self, context: StageContext) -> None:
        """Write `curves.png`."""
        module = context.module
        figure = learning_curves_figure(context.folder / "metrics.csv", module.monitor, module.mode)
        if figure is not None:
            save_figure(figure, context.folder / "curves.png")


def _last_values(metrics_csv: Path, names: tuple[str, ...]) -> dict[str, float]:
    """Return the last known value of each metric that was logged."""
    import pandas as pd

    table = pd.read_csv(metrics_csv)
    return {name: float(table[name].dropna().iloc[-1]) for name in names if name in table and table[name].notna().any()}
