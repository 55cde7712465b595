"""The LLaVA grader: learns answers (grade and reasons), grades by their likelihood, tells findings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from retinai.config.build import settings_from
from retinai.data.loading.fields import SampleField
from retinai.encoders.tuning import TuningReport
from retinai.errors import CheckpointError, ConfigError, UserError
from retinai.lesions.fields import FindingsField
from retinai.llava.adapters import read_tuning, report_tuning
from retinai.llava.fingerprint import check_fingerprint
from retinai.llava.hf_export import export
from retinai.llava.jsonl_source import ConversationField
from retinai.llava.loading import check_machine
from retinai.llava.loss import AnswerLikelihood
from retinai.llava.network import LlavaNetwork, build_llava
from retinai.llava.prediction import Answers, FreeTextGrades
from retinai.llava.report import answers_part
from retinai.llava.settings import LlavaSettings, read_settings
from retinai.llava.text.prompts import PromptTemplates
from retinai.llava.warm_start import load_adapters
from retinai.modules.checkpoint import KEY, check_state_dict, read_metadata, write_metadata
from retinai.modules.exporter import Exporter
from retinai.modules.grading import GradingModule
from retinai.prediction.predictions import Predictions
from retinai.prediction.steps import PredictionStep, Probabilities
from retinai.reports.parts import ReportPart
from retinai.tasks.task import Task

_GRADINGS = ("score", "generate")
# The sections that a LLaVA has of its own kind, and what to choose there.
_OWN = {
    "backbone": (LlavaSettings, "backbone=llava_1_5_7b or llava_tiny"),
    "loss": (AnswerLikelihood, "loss=answer"),
}


class LlavaGrader(GradingModule):
    """Grades photographs in words.

    Args:
        task: `Task.to_dict()` of the data, of kind `grade`.
        backbone: The `backbone` section of a LLaVA.
        tuning: The `tuning` section: `qlora`, `lora` or `full`.
        prompt: The `prompt` section: templates of questions and answers.
        grading: `score`: the probabilities of the grades are the likelihoods of their sentences, so
            that every photograph gets a valid grade; `generate`: free text, and a parser.
        findings: Write findings after the grade when predicting.
        max_answer_tokens: Most tokens of a written answer.
        length_normalised: Divide a candidate's log-likelihood by its number of tokens.
        gradient_checkpointing: Compute activations anew in the backward pass.
        name: Name of the configuration.
        **options: Of `GradingModule`.

    Raises:
        ConfigError: If sections do not fit the task or each other.
        UserError: If the network cannot be loaded.
    """

    network: LlavaNetwork
    is_tensor_graph = False
    # At 7 billion parameters keys and values of one photograph take about 0.3 GiB. Whatever batches a loop brings
    # (validation, evaluation, export, prediction), the network gets no more than these at once.
    largest_batch: int = 4

    def __init__(
        self,
        *,
        task: dict[str, Any],
        backbone: dict[str, Any],
        tuning: dict[str, Any],
        prompt: dict[str, Any],
        grading: str = "score",
        findings: bool = True,
        max_answer_tokens: int = 192,
        length_normalised: bool = False,
        gradient_checkpointing: bool = True,
        name: str = "llava",
        **options: Any,
    ) -> None:
        _check(task, grading, max_answer_tokens)
        super().__init__(task=task, name=name, **options)
        self.grading = grading
        self.tells_findings = bool(findings)
        self.max_answer_tokens = int(max_answer_tokens)
        self.length_normalised = bool(length_normalised)
        self.prompts: PromptTemplates = settings_from(prompt, PromptTemplates)
        self.candidates = [self.prompts.grade_text(self.task, grade) for grade in range(self.task.num_classes)]

    @classmethod
    def config_problems(cls, cfg: DictConfig) -> Iterable[str]:
        """Return what is chosen that a language model cannot take, and that the prompt is missing."""
        yield from super().config_problems(cfg)
        for group, (of_llava, own) in _OWN.items():
            if OmegaConf.select(cfg, f"{group}._target_") != f"{of_llava.__module__}.{of_llava.__name__}":
                yield f"model=llava goes with {own}, not with {group}={OmegaConf.select(cfg, f'{group}.name')}"
        if not cfg.get("prompt"):
            yield "model=llava needs prompt=, the templates of questions and answers"
        tuning = OmegaConf.select(cfg, "tuning.name")
        if tuning in ("head", "partial"):
            yield f"tuning={tuning} does not suit model=llava; choose qlora, lora or full"

    @classmethod
    def check_machine(cls, sections: Mapping[str, Any]) -> None:
        """Check that packages and, for a large network, a GPU are there."""
        check_machine(read_settings(sections["backbone"]))

    @property
    def states_probabilities(self) -> bool:
        """False for free text: a grade that was read out of it is certain, or none was found."""
        return self.grading == "score"

    def reference_fields(self) -> list[SampleField]:
        """Return the findings of the masks, where it writes what it sees."""
        return [FindingsField()] if self.tells_findings else []

    @property
    def start_weights(self) -> str:
        """Where the base network's weights come from."""
        return self.network.backbone.load_report

    # The hooks.

    def build_network(self) -> nn.Module:
        """Return the LLaVA with its adapters."""
        tuning = read_tuning(self.hparams["tuning"])
        return build_llava(self.hparams["backbone"], tuning, bool(self.hparams["gradient_checkpointing"]))

    def tune(self) -> TuningReport:
        """Return what trains; the network decided it when it was built."""
        return report_tuning(self.network)

    def parameter_groups(self, more: Iterable[nn.Parameter] = ()) -> list[dict[str, Any]]:
        """Return adapters and projector, the latter with the rate of a fresh part."""
        settings = self.optimizer_settings
        rates = {"language": settings.lr, "projector": settings.lr * settings.head_lr_multiplier}
        return [
            {"params": parameters, "lr": rates[part], "weight_decay": settings.weight_decay, "name": part}
            for part, parameters in self.network.trained_groups().items()
        ]

    # Training.

    def on_fit_start(self) -> None:
        """Check that every conversation that the data brings fits into the context, before the first step.

        Raises:
            UserError: If one is too long; names its photograph.
        """
        super().on_fit_start()
        data: Any = getattr(self.trainer, "datamodule", None)
        for field in getattr(data, "fields", ()):
            for name, turn in field.turns.items() if isinstance(field, ConversationField) else ():
                try:
                    self.network.conversations.encode([turn])
                except UserError as error:
                    raise UserError(f"photograph {name}: {error}") from error

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Return the mean negative log-likelihood of the answers of a batch."""
        loss = self.network(self.turns(batch), batch["image"]).mean()
        size = len(batch["id"])
        self.log("train/loss", loss, on_step=False, on_epoch=True, prog_bar=True, batch_size=size, sync_dist=True)
        return loss

    def turns(self, batch: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Return the question and the answer of each photograph of a labelled batch.

        A conversation that the data set brings (JSONL) is taken as it is; otherwise the templates
        write one from grade and findings, the question's phrasing anew in each epoch.
        """
        written = batch.get("conversation") or [None] * len(batch["id"])
        findings = batch.get("findings") or [None] * len(batch["id"])
        turns = []
        for name, target, given, facts in zip(batch["id"], batch["target"].tolist(), written, findings, strict=True):
            question = self.prompts.question(f"{name}/{self.current_epoch}")
            turns.append(given or (question, self.prompts.answer(self.task, int(target), facts, name)))
        return turns

    # Grading.

    def forward(self, images: Tensor) -> Tensor:
        """Return the log-likelihoods of the grades' sentences, (B, C), from normalised photographs."""
        question = self.prompts.question()
        scores = torch.cat([self.network.score(question, self.candidates, part) for part in self._parts(images)])
        if self.length_normalised:
            _, own = self.network.conversations.continuations(question, self.candidates)
            scores = scores / torch.tensor([len(tokens) for tokens in own], device=scores.device)
        return scores

    def prediction_steps(self) -> list[PredictionStep]:
        """Return the steps of grades and answers, each answer with what it is measured by."""
        return [FreeTextGrades()] if self.grading == "generate" else [Probabilities(), Answers()]

    def photograph_steps(self) -> list[PredictionStep]:
        """Return the steps of grades and, where any are written, answers."""
        if self.grading == "generate":
            return [FreeTextGrades(measured=False)]
        return [Probabilities(), *([Answers(measured=False)] if self.tells_findings else [])]

    def report_parts(self, predictions: Predictions) -> list[ReportPart]:
        """Return what the answers are worth."""
        return answers_part(predictions)

    def exporters(self) -> dict[str, Exporter]:
        """Return the folder that transformers and peft load."""
        return {"hf": Exporter(export, ("fp32",))}

    def set_prediction_option(self, name: str, value: Any) -> None:
        """Change how it grades (`grading`), see `set_grading_mode`."""
        if name != "grading":
            super().set_prediction_option(name, value)
        self.set_grading_mode(str(value))

    def set_grading_mode(self, grading: str) -> None:
        """Grade by `score` or `generate` from now on; a calibration of likelihoods does not suit free text.

        Raises:
            ConfigError: If it is neither.
        """
        _check(self.task.to_dict(), grading, self.max_answer_tokens)
        if grading != self.grading:
            self.grading, self.calibration = grading, None

    def write_answers(self, images: Tensor) -> list[str]:
        """Return answers that the network writes freely, grade and all."""
        return self._write([""] * len(images), images)

    def describe_lesions(self, images: Tensor, grades: Sequence[int]) -> list[str]:
        """Return answers with the given grades and the findings that the network writes after them."""
        begun = [self.candidates[grade] for grade in grades]
        return self._write(begun, images)

    def _write(self, begun: Sequence[str], images: Tensor) -> list[str]:
        """Return the answers that the network writes, each going on from its own beginning."""
        size = self.largest_batch
        return [
            text
            for number, part in enumerate(self._parts(images))
            for text in self.network.write(
                self.prompts.question(), begun[number * size : (number + 1) * size], part, self.max_answer_tokens
            )
        ]

    def _parts(self, images: Tensor) -> Sequence[Tensor]:
        """Return photographs in parts that the network can take at once."""
        return images.split(self.largest_batch)

    # Checkpoints.

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what is needed to use the checkpoint; it holds adapters and projector only."""
        write_metadata(self, checkpoint)
        base = self.network.backbone
        checkpoint[KEY]["frozen"] = {"sha256": base.fingerprint, "tensors": 0, "kept": base.kept}
        checkpoint[KEY]["adapter"] = dict(self.network.tuning.shape)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check that adapters and base network belong together."""
        metadata = read_metadata(checkpoint, "the checkpoint")
        base, frozen = self.network.backbone, metadata["frozen"] or {}
        check_fingerprint(str(frozen.get("sha256")), base.fingerprint, self.backbone_name)
        if frozen.get("kept") != base.kept:
            raise CheckpointError(
                f"the adapters were trained beside weights kept as {frozen.get('kept')}, and those of "
                f"{self.backbone_name!r} are kept as {base.kept} here; use the same tuning= and backbone.dtype as the "
                "run that made them"
            )
        check_state_dict(checkpoint["state_dict"], self.state_dict(), metadata)

    def take_start_weights(self, path: Path, checkpoint: dict[str, Any]) -> list[str]:
        """Take adapters and projector; the base network is the module's own and is not read a second time."""
        return load_adapters(path, checkpoint, self)

    def _hash_frozen(self) -> str | None:
        return self.network.backbone.fingerprint


def _check(task: Mapping[str, Any], grading: str, tokens: int) -> None:
    problems = []
    if "ordered" not in Task.from_dict(task).target_types:
        problems.append(f"model=llava gives grades; task {task['name']!r} has none, use model=classifier")
    if grading not in _GRADINGS:
        problems.append(f"model.grading={grading} is unknown; valid: {', '.join(_GRADINGS)}")
    if tokens < 1:
        problems.append(f"model.max_answer_tokens={tokens} must be 1 or more")
    if problems:
        raise ConfigError(problems)
