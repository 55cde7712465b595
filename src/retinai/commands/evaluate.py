"""`retinai evaluate`: measure a checkpoint on a split of any data set with the same task."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retinai.errors import CheckpointError, ConfigError, UserError
from retinai.places import check_folder, check_new, make_unique

if TYPE_CHECKING:
    import lightning
    from omegaconf import DictConfig
    from torch.utils.data import DataLoader

    from retinai.data.curation.known_split import KnownSplit
    from retinai.data.datamodule import FundusDataModule
    from retinai.modules.base import FundusModule
    from retinai.prediction.predictions import Predictions

RECORD = "evaluation.json"
# Keys of the data section that decide a split, where none is followed.
_SPLIT_KEYS = ("folds", "fold", "split_seed", "val_fraction", "test_fraction")


def run(cfg: DictConfig) -> None:
    """Predict a split with a checkpoint, write metrics, figures and report, print the table.

    Args:
        cfg: The composed configuration of `conf/evaluate.yaml`, already checked.
    """
    from retinai.modules.load import load_module
    from retinai.run.console import print_notes

    checkpoint = Path(cfg.ckpt)
    folder = _check_folder(cfg, checkpoint)
    module = load_module(checkpoint)
    if cfg.grading is not None:
        module.set_grading_mode(str(cfg.grading))
    datamodule, notes = open_data(cfg, module, checkpoint)
    datamodule.setup()
    datamodule.split_table(cfg.split)
    notes = [*notes, *_overlap(module, datamodule, str(cfg.split))]
    print_notes([*datamodule.notes, *notes])
    predictions = predict_split(module, datamodule, cfg.split, make_predictor(cfg.accelerator))
    folder = folder or make_unique(_default_folder(checkpoint, str(datamodule.name), str(cfg.split)))
    _write(folder, cfg, module, datamodule, predictions, [*datamodule.notes, *notes])
    print(f"run folder: {folder}")


def predict_split(
    module: FundusModule,
    datamodule: FundusDataModule,
    split: str,
    trainer: lightning.Trainer | None = None,
    texts: bool = True,
) -> Predictions:
    """Predict every photograph of a split, in the order of the table.

    Args:
        module: A trained module, as `load_module` gives it.
        datamodule: Its data, with the module's preprocessing.
        split: `train`, `val`, `test` or `predict`; `train` is predicted whole and without augmentation.
        trainer: Lightning's trainer; None makes one on the best single device that there is.
        texts: Let a language model write its answers too, where probabilities do not need them.

    Returns:
        Predictions of the split's photographs as the network gives them, not calibrated, with targets
        where the split is labelled.

    Raises:
        DataError: If the split is unknown or empty.
    """
    loader = _ordered_loader(datamodule, split)
    module.writes_texts = texts
    outputs: list[Any] = (trainer or make_predictor()).predict(module, dataloaders=loader) or []
    return _collect(module, datamodule, loader, outputs)


def make_predictor(accelerator: str = "auto", progress: bool = True) -> lightning.Trainer:
    """Return a trainer that predicts on one device and writes nothing."""
    import lightning

    from retinai.callbacks.quiet import quiet_lightning

    quiet_lightning()
    return lightning.Trainer(
        accelerator=accelerator,
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=progress,
    )


def _ordered_loader(datamodule: FundusDataModule, split: str) -> DataLoader[Any]:
    """Return a loader that gives each photograph of the split once, in order, as it is."""
    from torch.utils.data import DataLoader

    loader = datamodule.loader(split)
    if split != "train":
        return loader
    dataset = datamodule.dataset(split)
    dataset.augmentation = None
    return DataLoader(
        dataset, batch_size=datamodule.batch_size, num_workers=loader.num_workers, collate_fn=loader.collate_fn
    )


def _collect(
    module: FundusModule, datamodule: FundusDataModule, loader: DataLoader[Any], outputs: list[Any]
) -> Predictions:
    """Join the batches' probabilities with what the table says of each photograph."""
    import numpy as np

    from retinai.llava.metrics import Answers
    from retinai.prediction.predictions import Predictions

    dataset: Any = loader.dataset
    ids = [name for output in outputs for name in output["id"]]
    if ids != dataset.ids:
        raise RuntimeError(f"{len(ids)} photographs were predicted in another order than the {len(dataset.ids)} given")
    patient_of = dict(zip(datamodule.table["id"], datamodule.table["patient"], strict=True))
    labelled = all(target is not None for target in dataset.targets)
    return Predictions(
        task=datamodule.task,
        ids=ids,
        paths=[str(path) for path in dataset.paths],
        patients=[str(patient_of[name]) for name in ids],
        targets=np.array(dataset.targets, dtype=np.int64) if labelled else None,
        probabilities=np.concatenate([output["probability"].double().numpy() for output in outputs]),
        decision=module.decision,
        answers=Answers.of_outputs(outputs),
    )


def _check_folder(cfg: DictConfig, checkpoint: Path) -> Path | None:
    """Refuse a folder that cannot be written or holds results, before any work is done."""
    if cfg.run_dir is None:
        check_folder(_run_folder(checkpoint) / "evaluation", "run_dir")
        return None
    folder = check_folder(cfg.run_dir, "run_dir")
    if (folder / "run.json").exists():
        raise UserError(f"{folder} holds a training run, whose test results would be lost; choose another run_dir=")
    return check_new(folder, "run_dir", (RECORD, "predictions.csv", "metrics.json"), cfg.overwrite)


def _run_folder(checkpoint: Path) -> Path:
    return checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else checkpoint.parent


def _default_folder(checkpoint: Path, data: str, split: str) -> Path:
    name = f"{data}_{split}_{datetime.now():%Y-%m-%d_%H-%M-%S}"
    return _run_folder(checkpoint) / "evaluation" / name


def open_data(cfg: DictConfig, module: FundusModule, checkpoint: Path) -> tuple[FundusDataModule, list[str]]:
    """Build the data that is asked for, or that of the training, seen as the module sees it.

    On the data set that the module was trained on, also on a copy with other photographs, the split of the
    training is followed: another seed would put photographs that it was trained on into the test part.
    `data.split_file=FILE` is followed instead, and `data.split_file=null` splits anew.

    Args:
        cfg: With `data` (None: that of the training), `paths`, and perhaps `batch_size` and `num_workers`.
        module: The checkpoint's module.
        checkpoint: Its file, in its run folder.

    Returns:
        The datamodule, not set up, and sentences about it.

    Raises:
        CheckpointError: If the data is of another task.
    """
    from omegaconf import OmegaConf, open_dict

    from retinai.run.factories import make_datamodule

    own = dict(module.data_config or {})
    cfg = cfg.copy()
    with open_dict(cfg):
        if cfg.get("data") is None:
            if not own:
                raise CheckpointError(f"checkpoint {checkpoint} does not say what it was trained on; add data=")
            cfg.data = OmegaConf.create(trained_on(own, checkpoint))
        for key in ("batch_size", "num_workers"):
            if cfg.get(key) is not None:
                cfg.data[key] = cfg[key]
        if module.tells_findings:
            cfg.data.findings = True
        cfg.seed = int(module.hparams.get("seed", 0))
        known, notes = _training_split(cfg, own, module, checkpoint)
    datamodule = make_datamodule(cfg, module.preprocessing, topology=module.topology)
    if module.largest_batch is not None:
        datamodule.batch_size = min(datamodule.batch_size, module.largest_batch)
    _check_task(checkpoint, module, datamodule)
    if known is not None:
        datamodule.follow(known)
    return datamodule, notes


def trained_on(section: Mapping[str, Any], checkpoint: Path) -> dict[str, Any]:
    """Return the data section of a checkpoint, once it is known to name a data set of retinai and nothing else.

    Args:
        section: `data_config` of a module.
        checkpoint: Its file, for the error.

    Raises:
        CheckpointError: If it names anything else, or holds words that the configuration would look up elsewhere.
    """
    from retinai.config.build import check_kind
    from retinai.data.datamodule import FundusDataModule

    try:
        check_kind(section, FundusDataModule)
        if "${" in repr(section):
            raise ConfigError(["the data section refers to values outside of it"])
    except ConfigError as error:
        raise CheckpointError(f"checkpoint {checkpoint} names no data set of retinai ({error}); add data=") from error
    return dict(section)


def _training_split(
    cfg: DictConfig, own: dict[str, Any], module: FundusModule, checkpoint: Path
) -> tuple[KnownSplit | None, list[str]]:
    """Return the split to follow, None for none, and sentences; `cfg.data` is cleared of what counts no more."""
    if any(cfg.data.get(key) != own.get(key) for key in ("name", "target")):
        return None, []
    typed = _typed_keys()
    if "data.split_file" in typed:
        told = "the photographs are split anew, as data.split_file=null asks"
        return None, [] if cfg.data.split_file else [told]
    known = _known_split(module, checkpoint)
    if known is None:
        return None, [
            f"it is not known which photographs {checkpoint} was trained on (neither it nor its run folder holds a "
            "split), so they are split anew with the training's seed; some of them may stand in this part"
        ]
    idle = [f"data.{key}" for key in _SPLIT_KEYS if f"data.{key}" in typed]
    for key, value in (("split_file", None), ("folds", None), ("fold", 0)):
        if key in cfg.data:
            cfg.data[key] = value
    if not idle:
        return known, []
    return known, [f"{', '.join(idle)}: not used, since the split of the training is followed (data.split_file=null)"]


def _known_split(module: FundusModule, checkpoint: Path) -> KnownSplit | None:
    """Return the split that the checkpoint holds, or, for one of an earlier version, its run folder."""
    from retinai.data.curation.known_split import KnownSplit

    file = _run_folder(checkpoint) / "split.csv"
    if module.split is not None:
        return KnownSplit.from_dict(module.split)
    return KnownSplit.of_file(file) if file.exists() else None


def _typed_keys() -> set[str]:
    """Return the keys that were given on the command line."""
    from hydra.core.hydra_config import HydraConfig

    words = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    return {word.partition("=")[0].lstrip("+") for word in words}


def _overlap(module: FundusModule, datamodule: FundusDataModule, split: str) -> list[str]:
    """Say how many photographs of a part the module was trained or chosen on, where the part is not their own."""
    from retinai.data.curation.known_split import KnownSplit

    same = datamodule.name == (module.data_config or {}).get("name")
    if module.split is None or not same or split not in ("val", "test"):
        return []
    known, ids = KnownSplit.from_dict(module.split), datamodule.split_table(split)["id"]
    seen = sum(known.part_of(name) in (("train",) if split == "val" else ("train", "val")) for name in ids)
    if not seen:
        return []
    return [f"{seen} of the {len(ids)} photographs of this part were trained or chosen on: its results are too kind"]


def _check_task(checkpoint: Path, module: FundusModule, datamodule: FundusDataModule) -> None:
    ours, theirs = module.task, datamodule.task
    if (ours.name, ours.classes) != (theirs.name, theirs.classes):
        raise CheckpointError(
            f"checkpoint {checkpoint} is of task {ours.name} ({', '.join(ours.classes)}), but {datamodule.name} is of "
            f"task {theirs.name} ({', '.join(theirs.classes)}); choose data= of the same task"
        )


def _write(
    folder: Path,
    cfg: DictConfig,
    module: FundusModule,
    datamodule: FundusDataModule,
    predictions: Predictions,
    notes: list[str],
) -> None:
    """Write the evaluation, or for unlabelled photographs the predictions alone, and print the table."""
    from retinai.files import write_csv, write_json
    from retinai.reports.run_report import write_evaluation
    from retinai.run.console import print_answers, print_calibration, print_metrics

    details = _details(cfg, module, datamodule) | {"notes": notes}
    write_json(folder / RECORD, details)
    if predictions.targets is None:
        write_csv(folder / "predictions.csv", predictions.calibrated(module.calibration).to_frame())
        print(f"{len(predictions)} photographs predicted; they have no labels, so nothing was measured")
        return
    title = f"{details['backbone']} on {datamodule.name}, {cfg.split} split"
    metrics = write_evaluation(
        folder,
        predictions,
        title=title,
        details=details,
        preprocessing=module.preprocessing,
        calibration=module.calibration,
    )
    print_metrics(metrics, predictions.task, cfg.split)
    print_calibration(metrics)
    print_answers(metrics)


def _details(cfg: DictConfig, module: FundusModule, datamodule: FundusDataModule) -> dict[str, Any]:
    from retinai import __version__
    from retinai.run.folder import git_revision, package_versions

    return {
        "data": datamodule.name,
        "split": str(cfg.split),
        "model": module.model_name,
        "backbone": str((module.hparams.get("backbone") or {}).get("name", module.model_name)),
        "trained_on": (module.data_config or {}).get("name"),
        "checkpoint": str(cfg.ckpt),
        "preprocessing": module.preprocessing.to_dict(),
        "decision": module.decision,
        "data_fingerprint": datamodule.fingerprint,
        "created": datetime.now().astimezone().isoformat(timespec="seconds"),
        "version": __version__,
        "versions": package_versions(),
        "git_revision": git_revision(),
    }
