"""`model=hybrid`: trained classifiers give the grade, the language model writes after it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from retinai.data.loading.fields import SampleField
from retinai.errors import ConfigError, UserError
from retinai.lesions.fields import FindingsField
from retinai.llava.asking import ToldAsking
from retinai.llava.graders import TrainedGraders
from retinai.llava.module import LlavaGrader
from retinai.modules.checkpoint import KEY
from retinai.modules.exporter import Exporter


class HybridGrader(LlavaGrader):
    """Grades with trained classifiers and writes what a LLaVA says after that grade.

    Grade, probabilities and decision rule are the classifiers'; the LLaVA learns answers as ever, and continues the
    sentence of the grade that it is given. The best epoch is that of the likeliest answers, since the grades do not
    change.

    Args:
        grader: Checkpoint of a trained classifier, or several, whose mean probability counts.
        tell_lesions: The question tells which lesions the masks of a photograph show, in training and wherever a
            photograph is annotated.
        **options: Of `LlavaGrader`.

    Raises:
        UserError: If a grader cannot be used, or the task has no grades.
    """

    def __init__(self, *, grader: str | Sequence[str], tell_lesions: bool = False, **options: Any) -> None:
        super().__init__(**options)
        if "ordered" not in self.task.target_types or self.grading != "score":
            raise ConfigError(["model=hybrid writes after a grade: it needs a task of grades and model.grading=score"])
        self.tells_lesions = bool(tell_lesions)
        if self.tells_lesions:
            self.asking = ToldAsking(self.task, self.prompts)

    @classmethod
    def config_problems(cls, cfg: DictConfig) -> Iterable[str]:
        """Return what a LLaVA cannot take, and that the grader is missing."""
        yield from super().config_problems(cfg)
        if not cfg.model.get("grader"):
            yield "model=hybrid needs model.grader=RUN/checkpoints/best.ckpt, the classifier that grades"

    def build_network(self) -> nn.Module:
        """Return the LLaVA; the graders lie beside it, and are read first because that is quick."""
        given = self.hparams["grader"]
        self.graders = TrainedGraders([given] if isinstance(given, str) else [str(path) for path in given], self.task)
        return super().build_network()

    @property
    def network_kind(self) -> str:
        """That of a LLaVA: a hybrid may start with the weights of a LLaVA that was trained alone."""
        return LlavaGrader.__name__

    @property
    def decision_rule(self) -> str:
        """The graders' own."""
        return self.graders.decision_rule

    @property
    def monitor(self) -> str:
        """The loss of the answers on validation."""
        return "val/answer_loss"

    @property
    def mode(self) -> str:
        """Low is good."""
        return "min"

    def fields(self) -> list[SampleField]:
        """Return the photograph as the graders want to see it, and the findings where it tells them."""
        return [*self.graders.fields(), *([FindingsField()] if self.tells_lesions else [])]

    def facts(self) -> dict[str, Any]:
        """Return which graders they are."""
        return {**super().facts(), "graders": self.graders.records()}

    def describe_network(self) -> Iterator[tuple[str, str]]:
        """Yield the rows of a LLaVA, and who grades."""
        yield from super().describe_network()
        yield "graded by", ", ".join(f"{row['backbone']} ({row['ckpt']})" for row in self.graders.records())

    def network_inputs(self, batch: Mapping[str, Any]) -> tuple[Tensor, ...]:
        """Return the photographs as the graders see them."""
        return self.graders.inputs(batch)

    def forward(self, *views: Tensor) -> Tensor:
        """Return the logarithms of the graders' probabilities, (B, C), from `network_inputs`."""
        return self.graders.log_probabilities(views)

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Log the loss of the answers too."""
        turns, seen = self.asking.turns(batch, 0), self.seen(batch)
        size = self.largest_batch
        losses = [
            self.network([(t.question, t.answer) for t in turns[k : k + size]], seen[k : k + size])
            for k in range(0, len(turns), size)
        ]
        loss = torch.cat(losses).mean()
        self.log("val/answer_loss", loss, on_epoch=True, prog_bar=True, batch_size=len(turns), sync_dist=True)
        super().validation_step(batch, batch_idx)

    def exporters(self) -> dict[str, Exporter]:
        """Return none: a folder of the language model alone would grade by likelihood."""
        return {}

    def set_prediction_option(self, name: str, value: Any) -> None:
        """Refuse to grade otherwise.

        Raises:
            UserError: Always, but for `grading=score`.
        """
        if (name, value) != ("grading", "score"):
            raise UserError(f"{name}={value} means nothing for model=hybrid, whose grades are those of its classifier")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the hashes of the graders, which the checkpoint does not hold."""
        super().on_save_checkpoint(checkpoint)
        checkpoint[KEY]["graders"] = list(self.graders.sha256)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check that the graders are those of the training."""
        self.graders.check_same(checkpoint[KEY].get("graders"))
        super().on_load_checkpoint(checkpoint)
