"""`retinai evaluate`: measure a checkpoint on a split of any data set with the same task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import lightning
    from torch.utils.data import DataLoader

    from retinai.data.base import FundusDataModule
    from retinai.metrics.predictions import Predictions
    from retinai.modules.base import FundusModule


def predict_split(
    module: FundusModule,
    datamodule: FundusDataModule,
    split: str,
    trainer: lightning.Trainer | None = None,
) -> Predictions:
    """Predict every photograph of a split, in the order of the table.

    Args:
        module: A trained module, as `load_module` gives it.
        datamodule: Its data, with the module's preprocessing.
        split: `train`, `val`, `test` or `predict`; `train` is predicted whole and without augmentation.
        trainer: Lightning's trainer; None makes one on the best single device that there is.

    Returns:
        Predictions of the split's photographs, with targets where the split is labelled.

    Raises:
        DataError: If the split is unknown or empty.
    """
    loader = _ordered_loader(datamodule, split)
    outputs: list[Any] = (trainer or make_predictor()).predict(module, dataloaders=loader) or []
    return _collect(module, datamodule, loader, outputs)


def make_predictor(accelerator: str = "auto", progress: bool = True) -> lightning.Trainer:
    """Return a trainer that predicts on one device and writes nothing."""
    import lightning

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

    from retinai.metrics.predictions import Predictions

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
    )
