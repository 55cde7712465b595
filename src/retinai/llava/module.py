"""The LLaVA grader: learns answers (grade and reasons), grades by their likelihood, tells findings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from retinai.config.build import settings_from
from retinai.data.loading.fields import SampleField
from retinai.encoders.tuning import TuningReport
from retinai.errors import CheckpointError, DataError
from retinai.lesions.fields import FindingsField, findings_of
from retinai.lesions.findings import Findings
from retinai.llava.adapters import read_tuning, report_tuning
from retinai.llava.asking import GradeAsking, Turn, check_choices, make_asking
from retinai.llava.fingerprint import check_fingerprint
from retinai.llava.hf_export import export
from retinai.llava.jsonl_source import check_lengths
from retinai.llava.loading import check_machine
from retinai.llava.loss import AnswerLikelihood
from retinai.llava.network import LlavaNetwork, build_llava
from retinai.llava.prediction import Answers, FreeTextGrades
from retinai.llava.report import answers_part
from retinai.llava.settings import LlavaSettings, read_settings
from retinai.llava.text.prompts import PromptTemplates
from retinai.llava.text.typical import TypicalFindings
from retinai.llava.vision_cache import VISION, VisionField, keep_vision
from retinai.llava.warm_start import check_projector, load_adapters
from retinai.modules.checkpoint import KEY, check_state_dict, read_metadata, write_metadata
from retinai.modules.exporter import Exporter
from retinai.modules.grading import GradingModule
from retinai.prediction.predictions import Predictions
from retinai.prediction.steps import PredictionStep, Probabilities
from retinai.reports.parts import ReportPart

if TYPE_CHECKING:
    from retinai.data.datamodule import FundusDataModule

# The sections that a LLaVA has of its own kind, and what to choose there.
_OWN = {
    "backbone": (LlavaSettings, "backbone=llava_1_5_7b, llava_small or llava_tiny"),
    "loss": (AnswerLikelihood, "loss=answer"),
}


class LlavaGrader(GradingModule):
    """Grades photographs in words.

    Args:
        task: `Task.to_dict()` of the data: ordered grades, or labels.
        backbone: The `backbone` section of a LLaVA.
        tuning: The `tuning` section: `qlora`, `lora`, `projector` or `full`.
        prompt: The `prompt` section: templates of questions and answers.
        grading: `score`: the probabilities of the grades are the likelihoods of their sentences, so
            that every photograph gets a valid grade; `generate`: free text, and a parser.
        findings: Write findings after the grade when predicting.
        max_answer_tokens: Most tokens of a written answer.
        length_normalised: Divide a candidate's log-likelihood by its number of tokens.
        gradient_checkpointing: Compute activations anew in the backward pass.
        cache_vision: Compute the frozen tower's tokens of each photograph once and keep them; photographs then do not
            vary in training.
        labels_asked: For tasks of labels: about how many of them each photograph is asked in one epoch.
        name: Name of the configuration.
        **options: Of `GradingModule`.

    Raises:
        ConfigError: If sections do not fit the task or each other.
        UserError: If the network cannot be loaded.
    """

    network: LlavaNetwork
    criterion: AnswerLikelihood
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
        cache_vision: bool = False,
        labels_asked: int = 2,
        name: str = "llava",
        **options: Any,
    ) -> None:
        check_choices(task, grading, {"max_answer_tokens": max_answer_tokens, "labels_asked": labels_asked})
        super().__init__(task=task, name=name, **options)
        self.grading = grading
        self.tells_findings = bool(findings) and "ordered" in self.task.target_types
        self.max_answer_tokens = int(max_answer_tokens)
        self.length_normalised = bool(length_normalised)
        self.cache_vision = bool(cache_vision)
        self.prompts: PromptTemplates = settings_from(prompt, PromptTemplates)
        self.asking = make_asking(self.task, self.prompts, int(labels_asked))
        self.typical: TypicalFindings | None = None  # of the training photographs; a checkpoint brings its own

    @classmethod
    def config_problems(cls, cfg: DictConfig) -> Iterable[str]:
        """Return what is chosen that a language model cannot take, and that the prompt is missing."""
        yield from super().config_problems(cfg)
        for group, (of_llava, own) in _OWN.items():
            if OmegaConf.select(cfg, f"{group}._target_") != f"{of_llava.__module__}.{of_llava.__name__}":
                chosen = OmegaConf.select(cfg, f"{group}.name")
                yield f"model={cfg.model.name} goes with {own}, not with {group}={chosen}"
        if not cfg.get("prompt"):
            yield f"model={cfg.model.name} needs prompt=, the templates of questions and answers"
        if cfg.model.get("cache_vision") and OmegaConf.select(cfg, "augment.transforms"):
            yield (
                "model.cache_vision=true keeps the tokens of each photograph, so that it cannot vary as "
                f"augment={cfg.augment.name} has it; add augment=none"
            )
        tuning = OmegaConf.select(cfg, "tuning.name")
        if tuning in ("head", "partial"):
            yield f"tuning={tuning} does not suit model={cfg.model.name}; choose qlora, lora, projector or full"

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
        checkpointing = bool(self.hparams["gradient_checkpointing"])
        return build_llava(self.hparams["backbone"], tuning, checkpointing, self.preprocessing)

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

    def prepare_training(self, datamodule: FundusDataModule) -> list[str]:
        """Note what lesions each grade usually has, and compute the vision tower's tokens where they are kept."""
        told = super().prepare_training(datamodule)
        if self.tells_findings:
            train = datamodule.table[datamodule.table["split"] == "train"]
            grades = dict(zip(train["id"], train["target"], strict=True))
            self.typical = TypicalFindings.of(findings_of(datamodule.context), grades)
        if not self.cache_vision:
            return told
        field = VisionField(self.network.vision_key, self.network.vision_shape)
        return [*told, keep_vision(datamodule, field, self.network.look)]

    def on_fit_start(self) -> None:
        """Check that every conversation that the data brings fits into the context, before the first step.

        Raises:
            UserError: If one is too long; names its photograph.
        """
        super().on_fit_start()
        data: Any = getattr(self.trainer, "datamodule", None)
        check_lengths(getattr(data, "fields", ()), self.network.conversations)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Return the mean negative log-likelihood of the answers of a batch."""
        seen = self.seen(batch)
        turns, size = self.asking.turns(batch, self.current_epoch), len(batch["id"])
        rows = [turn.row for turn in turns]
        if len(rows) > len(seen):  # several questions about one photograph: the tower looks once
            seen = (self.network.look(seen) if seen.ndim == 4 else seen)[rows]
        loss = self.network([(t.question, t.answer) for t in turns], seen, self._weights(turns)).mean()
        self.log("train/loss", loss, on_step=False, on_epoch=True, prog_bar=True, batch_size=size, sync_dist=True)
        return loss

    def turns(self, batch: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Return the questions and answers that a labelled batch is learnt from, see `Asking.turns`."""
        return [(turn.question, turn.answer) for turn in self.asking.turns(batch, self.current_epoch)]

    def _weights(self, turns: Sequence[Turn]) -> list[tuple[str, float]]:
        """Return the beginning of each answer whose tokens weigh more than the others, and their weight."""
        return [(turn.head, self.criterion.grade_weight) for turn in turns]

    # Grading.

    def network_inputs(self, batch: Mapping[str, Any]) -> tuple[Tensor, ...]:
        """Return what `seen` gives."""
        return (self.seen(batch),)

    def seen(self, batch: Mapping[str, Any]) -> Tensor:
        """Return what the language model reads: the photographs, or where they are kept the tower's tokens of them."""
        kept: Tensor = batch[VISION] if VISION in batch else batch["image"]
        return kept

    def forward(self, images: Tensor) -> Tensor:
        """Return the scores of grades or labels, (B, C), from `network_inputs`; see `Asking.scores`."""
        parts = self._parts(images)
        return torch.cat([self.asking.scores(self.network, part, self.length_normalised) for part in parts])

    def prediction_steps(self) -> list[PredictionStep]:
        """Return the steps of grades and answers, each answer with what it is measured by."""
        if self.grading == "generate":
            return [FreeTextGrades()]
        return [Probabilities(), *([Answers()] if "ordered" in self.task.target_types else [])]

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
        check_choices(self.task.to_dict(), grading, {})
        if grading != self.grading:
            self.grading, self.calibration = grading, None

    def write_answers(self, images: Tensor) -> list[str]:
        """Return answers that the network writes freely, grade and all."""
        return self._write([""] * len(images), images)

    def describe_lesions(
        self, images: Tensor, grades: Sequence[int], findings: Sequence[Findings | None] | None = None
    ) -> list[str]:
        """Return answers with the given grades and what the network writes after them.

        Args:
            images: Of `seen`.
            grades: One per photograph.
            findings: What the masks say, for a model that tells it in its questions.
        """
        assert isinstance(self.asking, GradeAsking)
        begun = [self.asking.candidates[grade] for grade in grades]
        return self._write(begun, images, [self.asking.question(f) for f in findings or [None] * len(begun)])

    def template_answer(self, name: str, grade: int, findings: Findings | None) -> str | None:
        """Return what a template says that knows no more of a photograph than its grade.

        Args:
            name: Id of the photograph.
            grade: The grade that was given.
            findings: What the masks say; its lesions are taken over where the questions tell them too.

        Returns:
            None where no training photograph was annotated, or the task has no grades.
        """
        if self.typical is None or not isinstance(self.asking, GradeAsking):
            return None
        told = findings if self.asking.tells_lesions else None
        return self.prompts.answer(self.task, grade, self.typical.filled(grade, told), name)

    def _write(self, begun: Sequence[str], images: Tensor, questions: Sequence[str] | None = None) -> list[str]:
        """Return the answers that the network writes, each going on from its own beginning."""
        asked = questions or [self.prompts.question()] * len(begun)
        size, texts = self.largest_batch, []
        for number, part in enumerate(self._parts(images)):
            rows = slice(number * size, (number + 1) * size)
            texts += self.network.write(asked[rows], begun[rows], part, self.max_answer_tokens)
        return texts

    def _parts(self, images: Tensor) -> Sequence[Tensor]:
        """Return photographs in parts that the network can take at once."""
        return images.split(self.largest_batch)

    # Checkpoints.

    def metadata(self) -> dict[str, Any]:
        """Return what a checkpoint tells, with what lesions each grade usually has."""
        return {**super().metadata(), "typical": self.typical.to_dict() if self.typical else None}

    def take_metadata(self, metadata: Mapping[str, Any]) -> None:
        """Take over the lesions of each grade too.

        Raises:
            CheckpointError: If they are none.
        """
        super().take_metadata(metadata)
        typical = metadata.get("typical")
        try:
            self.typical = TypicalFindings.from_dict(typical) if typical else None
        except DataError as error:
            raise CheckpointError(f"typical: {error}; use one that retinai wrote") from error

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
        check_projector(checkpoint["state_dict"], self)
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
