"""Predictions of a part of a data set, with what its table says of each photograph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch.utils.data import DataLoader

from retinai.prediction.predictions import Predictions
from retinai.prediction.predictor import Predictor, Results
from retinai.prediction.steps import PROBABILITY, PredictionStep

if TYPE_CHECKING:
    from retinai.data.datamodule import FundusDataModule
    from retinai.modules.grading import GradingModule


def predict_split(
    module: GradingModule,
    datamodule: FundusDataModule,
    split: str,
    *,
    steps: Sequence[PredictionStep] | None = None,
    accelerator: str = "auto",
    progress: bool = True,
) -> Predictions:
    """Predict every photograph of a split, in the order of the table.

    Args:
        module: A trained module, as `load_module` gives it.
        datamodule: Its data, with the module's preprocessing.
        split: `train`, `val`, `test` or `predict`; `train` is predicted whole and without augmentation.
        steps: What to find out, with probabilities among it; None asks the module (`prediction_steps`). What is one
            value per photograph becomes a column of the predictions.
        accelerator: `auto`, `gpu` or `cpu`.
        progress: Whether to show a bar on a terminal.

    Returns:
        Predictions of the split's photographs as the network gives them, not calibrated, with targets
        where the split is labelled.

    Raises:
        DataError: If the split is unknown or empty.
    """
    loader = ordered_loader(datamodule, split)
    dataset: Any = loader.dataset
    results = Predictor(module, accelerator, progress).run(loader, steps, total=len(dataset))
    return _with_labels(module, datamodule, dataset, results)


def ordered_loader(datamodule: FundusDataModule, split: str) -> DataLoader[Any]:
    """Return a loader that gives each photograph of the split once, in order, as it is."""
    loader = datamodule.loader(split)
    if split != "train":
        return loader
    dataset = datamodule.dataset(split)
    dataset.augmentation = None
    return DataLoader(
        dataset, batch_size=datamodule.batch_size, num_workers=loader.num_workers, collate_fn=loader.collate_fn
    )


def _with_labels(module: GradingModule, datamodule: FundusDataModule, dataset: Any, results: Results) -> Predictions:
    """Join what was found with what the table says of each photograph."""
    if results.ids != dataset.ids:
        raise RuntimeError(
            f"{len(results.ids)} photographs were predicted in another order than the {len(dataset.ids)} given"
        )
    patient_of = dict(zip(datamodule.table["id"], datamodule.table["patient"], strict=True))
    labelled = all(target is not None for target in dataset.targets)
    return Predictions(
        task=datamodule.task,
        ids=results.ids,
        paths=[str(path) for path in dataset.paths],
        patients=[str(patient_of[name]) for name in results.ids],
        targets=datamodule.task.target_array(dataset.targets) if labelled else None,
        probabilities=results[PROBABILITY],
        decision_rule=module.decision_rule,
        columns=results.columns(),
    )
