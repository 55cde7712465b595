"""The distiller: a student that learns from labels and from trained teachers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from retinai.data.loading.fields import SampleField
from retinai.distillation.notes import teacher_notes
from retinai.distillation.teacher import Teachers, checkpoint_paths, load_teachers, missing_teacher
from retinai.errors import CheckpointError, ConfigError
from retinai.losses.base import Criterion
from retinai.losses.divergence import distillation_loss
from retinai.modules.checkpoint import KEY
from retinai.modules.classifier import Classifier

if TYPE_CHECKING:
    from retinai.data.datamodule import FundusDataModule

_NO_TEACHER = (
    "model=distiller needs a teacher: add teacher.ckpt=RUN/checkpoints/best.ckpt of a trained grader "
    "(several: teacher.ckpt=[A,B])"
)


class Distiller(Classifier):
    """A classifier whose loss is alpha T^2 KL(teacher_T || student_T) + (1 - alpha) CE.

    CE is the `loss` section with its class weights and label smoothing; neither touches the divergence.
    Alpha moves linearly over the epochs, from the first to the last. Only training needs the teachers: they
    are not in the checkpoint, and a trained student is used like any classifier.

    Args:
        teacher: The `teacher` section: `ckpt`, one checkpoint or a list of them.
        temperature: T, 0.01 to 100; beyond, T^2 and the divergence leave the range of float32.
        alpha_start: Alpha in the first epoch, in [0, 1].
        alpha_end: Alpha in the last epoch, in [0, 1].
        name: Name of the configuration.
        **options: Of `Classifier`.

    Raises:
        ConfigError: If a value is out of range, or the loss's outputs are no class logits (`corn`, `coral`,
            `regression`): there is nothing that a temperature could soften. A teacher may have any loss.

    Source: Hinton, Vinyals & Dean, "Distilling the Knowledge in a Neural Network", 2015.
    """

    distributions: ClassVar[tuple[str, ...]] = ("categorical", "bernoulli")

    def __init__(
        self,
        *,
        teacher: dict[str, Any] | None = None,
        temperature: float = 4.0,
        alpha_start: float = 0.2,
        alpha_end: float = 0.8,
        name: str = "distiller",
        **options: Any,
    ) -> None:
        super().__init__(name=name, **options)
        self.teachers: Teachers | None = None
        self.temperature, self.alpha_ends = float(temperature), (float(alpha_start), float(alpha_end))
        problems = []
        if not 0.01 <= self.temperature <= 100:
            problems.append(f"model.temperature={temperature} is out of range (0.01 to 100)")
        for key, value in zip(("alpha_start", "alpha_end"), self.alpha_ends, strict=True):
            if not 0 <= value <= 1:
                problems.append(f"model.{key}={value} is out of range (0 to 1)")
        if problems:
            raise ConfigError(problems)

    def build_loss(self) -> Criterion:
        """Return the criterion of the `loss` section, whose outputs must be class logits."""
        criterion = super().build_loss()
        if not criterion.gives_class_logits:
            raise ConfigError(
                [
                    f"model=distiller cannot train loss={self.hparams['loss'].get('name')}: its outputs are no class "
                    "logits that a temperature could soften; use cross_entropy, focal, class_balanced or "
                    "effective_number (a teacher may have any loss)"
                ]
            )
        return criterion

    @classmethod
    def config_problems(cls, cfg: DictConfig) -> Iterable[str]:
        """Return what is wrong with a classifier's choices, and that a teacher is missing."""
        yield from super().config_problems(cfg)
        if not OmegaConf.select(cfg, "teacher.ckpt"):
            yield _NO_TEACHER

    @classmethod
    def check_machine(cls, sections: Mapping[str, Any]) -> None:
        """Check that the teachers' files are there."""
        super().check_machine(sections)
        for path in checkpoint_paths(sections.get("teacher")):
            if not Path(path).is_file():
                raise missing_teacher(path)

    def prepare_training(self, datamodule: FundusDataModule) -> list[str]:
        """Load the teachers and tell who they are."""
        self.set_teachers()
        assert self.teachers is not None
        return [*super().prepare_training(datamodule), *teacher_notes(self.teachers, datamodule)]

    def facts(self) -> dict[str, Any]:
        """Return what the teachers are."""
        return {**super().facts(), "teacher": self.teachers and self.teachers.describe()}

    def set_teachers(self, teachers: Teachers | None = None) -> None:
        """Take the teachers to learn from.

        Args:
            teachers: Loaded already; None loads those of the `teacher` section.

        Raises:
            ConfigError: If there is none.
            CheckpointError: If one is missing, unusable, or of another task.
        """
        if teachers is None:
            paths = checkpoint_paths(self.hparams.get("teacher"))
            if not paths:
                raise ConfigError([_NO_TEACHER])
            teachers = load_teachers(paths)
        teachers.check_task(self.task)
        self.teachers = teachers

    def fields(self) -> list[SampleField]:
        """Return what the student takes, and in training what its teachers take."""
        return [*super().fields(), *(self.teachers.fields() if self.teachers is not None else [])]

    @property
    def alpha(self) -> float:
        """Share of the divergence in the loss in the current epoch, from the epoch's number alone."""
        start, end = self.alpha_ends
        last = max(int(self.trainer.max_epochs or 1) - 1, 1)
        return start + (end - start) * min(self.current_epoch / last, 1.0)

    def on_fit_start(self) -> None:
        """Have the teachers on the student's device."""
        super().on_fit_start()
        if self.teachers is None:
            self.set_teachers()
        assert self.teachers is not None
        self.teachers.to(self.device)

    def task_loss(self, logits: Tensor, batch: dict[str, Any]) -> Tensor:
        """Return alpha T^2 KL(teacher || student) + (1 - alpha) CE, and log its parts."""
        assert self.teachers is not None
        alpha, ce = self.alpha, super().task_loss(logits, batch)
        targets = self.teachers.probabilities(batch, self.temperature)
        kd = distillation_loss(self.criterion.class_logits(logits), targets, self.temperature, self.task.distribution)
        self.log_part("kd", kd, batch)
        self.log_part("ce", ce, batch)
        self.log_part("alpha", alpha, batch)
        return alpha * kd + (1 - alpha) * ce

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Note which teachers taught, beside what every checkpoint holds."""
        super().on_save_checkpoint(checkpoint)
        if self.teachers is not None:
            checkpoint[KEY]["teachers"] = self.teachers.records()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse to go on with other teachers than the run began with."""
        super().on_load_checkpoint(checkpoint)
        began = checkpoint[KEY].get("teachers")
        if self.teachers is None or began is None:
            return
        now = self.teachers.records()
        if [r["sha256"] for r in began] != [r["sha256"] for r in now]:
            raise CheckpointError(
                f"the run began with the teachers {', '.join(r['path'] for r in began)}, and those of teacher.ckpt= "
                "have other weights; a run goes on with the same teachers in the same order"
            )
