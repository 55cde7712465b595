"""What is done after the training, each a stage that a kind of module names (`BaseModule.stages`)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    import lightning

    from retinai.data.datamodule import FundusDataModule


@dataclass(frozen=True)
class StageContext:
    """What a stage works with.

    Args:
        folder: The run folder.
        datamodule: The data, set up.
        module: The module as the training left it.
        load_best: Loads the best checkpoint.
        trainer: The trainer that fitted the module.
        record: What `run.json` tells of the run so far, with what earlier stages gave.
        notes: Sentences about the run so far; a stage may add some.
        options: The whole configuration, as plain values.
        say: Prints notes.
        show: Prints the tables of an evaluation: content of `metrics.json`, task, the module's own parts.
    """

    folder: Path
    datamodule: FundusDataModule
    module: Any
    load_best: Callable[[], Any]
    trainer: lightning.Trainer
    record: dict[str, Any]
    notes: list[str]
    options: Mapping[str, Any]
    say: Callable[[Iterable[str]], None]
    show: Callable[[Mapping[str, Any], Any, Any], None]


class Stage(ABC):
    """One thing that is done after the training, by the first process of a run.

    A stage depends on what lies in the run folder and on the data alone: a run that was stopped in it does the same
    when it is resumed.

    Attributes:
        name: What it does, for messages.
        switch: Key of the configuration that turns it off when it is false; None: always on.
        splits: Parts of the data that it needs; a part without photographs is told before the training.
    """

    name: ClassVar[str]
    switch: ClassVar[str | None] = None
    splits: ClassVar[tuple[str, ...]] = ()

    def wanted(self, options: Mapping[str, Any]) -> bool:
        """Return whether the configuration asks for it."""
        return self.switch is None or bool(options.get(self.switch, True))

    @abstractmethod
    def run(self, context: StageContext) -> dict[str, Any] | None:
        """Do it.

        Returns:
            What `run.json` tells of it, plain values by key; None for nothing.
        """


class Calibrate(Stage):
    """Fit temperature and operating points on validation and write them into the best checkpoint."""

    name = "calibrate"
    switch = "calibrate"
    splits = ("val",)

    def run(self, context: StageContext) -> None:
        """Fit, store and say what came out."""
        from retinai.modules.checkpoint import store_calibration
        from retinai.prediction.calibration.fitting import NO_PROBABILITIES, fit_calibration
        from retinai.prediction.splits import predict_split
        from retinai.prediction.steps import Probabilities

        best = context.load_best()
        if best.states_probabilities:
            validated = predict_split(best, context.datamodule, "val", steps=[Probabilities()])
            calibration, notes = fit_calibration(validated)
        else:
            calibration, notes = None, [NO_PROBABILITIES]
        store_calibration(context.folder / "checkpoints" / "best.ckpt", calibration)
        context.say(notes)
        context.notes.extend(notes)


class TestBest(Stage):
    """Predict the test split with the best checkpoint; write metrics, figures and report."""

    name = "test"
    switch = "test"
    splits = ("test",)

    def run(self, context: StageContext) -> dict[str, Any]:
        """Return the metrics, each with its interval, under `metrics`."""
        from retinai.prediction.splits import predict_split
        from retinai.reports.run_report import write_evaluation
        from retinai.tracking.loggers import log_evaluation

        best = context.load_best()
        predictions = predict_split(best, context.datamodule, "test")
        parts = best.report_parts(predictions)
        metrics = write_evaluation(
            context.folder,
            predictions,
            title=f"{context.record['backbone']} on {context.record['data']}, test split",
            details={**context.record, "notes": context.notes},
            metrics_csv=context.folder / "metrics.csv",
            preprocessing=best.preprocessing,
            calibration=best.calibration,
            parts=parts,
        )
        logger: Any = context.trainer.logger
        log_evaluation(logger, predictions.calibrated(best.calibration), metrics)
        context.show(metrics, predictions.task, parts)
        figures = {k: v for k, v in metrics.items() if k == "calibration" or (isinstance(v, dict) and "value" in v)}
        return {"metrics": figures}


def run_stages(stages: Iterable[Stage], context: StageContext) -> dict[str, Any]:
    """Run stages in order; return what `run.json` tells of them."""
    told: dict[str, Any] = {}
    for stage in stages:
        result = stage.run(context) or {}
        context.record.update(result)
        told |= result
    return told
