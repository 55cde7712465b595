"""A LLaVA with what trains in it, as one module: answers' losses, candidates' likelihoods, generated text."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from retinai.data.photographs.preprocessing import Preprocessing
from retinai.errors import ConfigError
from retinai.llava import likelihood
from retinai.llava.adapters import LlavaTuning, apply_llava_tuning, hold_only
from retinai.llava.encoding import Conversations
from retinai.llava.loading import load_llava
from retinai.llava.processor import tokens_of_tower
from retinai.llava.settings import LlavaSettings, read_settings


@dataclass(frozen=True)
class LlavaBackbone:
    """What others ask of a backbone.

    Args:
        name: Name of the configuration.
        load_report: Where its weights came from, as text.
        fingerprint: Identifies the base network, however it is kept.
        kept: How its frozen weights are kept: `4-bit NF4`, or a type such as `bfloat16`.
    """

    name: str
    load_report: str
    fingerprint: str
    kept: str


class LlavaNetwork(nn.Module):
    """A LLaVA whose state dict holds only what trains: adapters, and the projector where it does.

    Args:
        settings: Which LLaVA.
        tuning: What trains.
        gradient_checkpointing: Compute activations anew in the backward pass instead of keeping them.

    Raises:
        UserError: If it cannot be loaded, or needs a GPU.
        ConfigError: If settings do not fit the network.
    """

    def __init__(self, settings: LlavaSettings, tuning: LlavaTuning, gradient_checkpointing: bool = True) -> None:
        super().__init__()
        loaded = load_llava(settings, four_bits=tuning.name == "qlora")
        self.settings, self.tuning = settings, tuning
        self.processor = loaded.processor
        self.conversations = Conversations(loaded.processor, loaded.model.config)
        source = _source(settings)
        kept = "4-bit NF4" if tuning.name == "qlora" else settings.dtype
        self.backbone = LlavaBackbone(settings.name, f"{source} ({kept})", loaded.fingerprint, kept)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning)  # PEFT still asks by the old name
            self.model: Any = apply_llava_tuning(loaded.model, tuning)
        if settings.dtype != "float32":
            _leave_types_to_autocast(self.model)
        if gradient_checkpointing:
            loaded.model.activation_checkpointing_enable({"use_reentrant": False})
        hold_only(self, frozenset(n for n, p in self.named_parameters() if p.requires_grad))

    @property
    def tower(self) -> Any:
        """The vision tower."""
        return likelihood.llava_of(self.model).vision_tower

    @property
    def pad(self) -> int:
        """Id of the padding token."""
        return int(self.conversations.tokenizer.pad_token_id)

    def computing(self) -> AbstractContextManager[Any]:
        """Return the context in which the network computes in its own type; adapters are kept in float32."""
        if self.settings.dtype == "float32":
            return nullcontext()
        device = next(self.parameters()).device.type
        return torch.autocast(device, getattr(torch, self.settings.dtype))

    def forward(
        self, turns: Sequence[tuple[str, str]], images: Tensor, heads: Sequence[tuple[str, float]] | None = None
    ) -> Tensor:
        """Return the negative log-likelihood of each answer, mean over its tokens, shape (B,).

        Args:
            turns: (question, answer) of each photograph.
            heads: Words that each answer begins with, and the weight of their tokens; the others weigh 1.
            images: Normalised photographs (B, 3, S, S), or what `look` gave for them.
        """
        encoded = self.conversations.encode(turns, heads).to(images.device)
        with self.computing():
            return likelihood.answer_loss(self.model, encoded, images)

    def look(self, images: Tensor) -> Tensor:
        """Return the vision tower's tokens of normalised photographs (B, 3, S, S), (B, N, C), which may be kept."""
        with torch.no_grad(), self.computing():
            return likelihood.vision_tokens(self.model, images.to(next(self.parameters()).device))

    @property
    def vision_key(self) -> str:
        """Identifies the tower, the layer that is read, and the type in which it computes."""
        config = likelihood.llava_of(self.model).config
        own = getattr(self.tower, "sha256", f"{self.backbone.fingerprint}|{self.settings.dtype}")
        read = f"{config.vision_feature_layer}|{config.vision_feature_select_strategy}|{self.vision_shape}"
        return hashlib.sha256(f"{own}|{read}".encode()).hexdigest()

    @property
    def vision_shape(self) -> tuple[int, int]:
        """Tokens per photograph and their channels, (N, C)."""
        config = likelihood.llava_of(self.model).config
        layers = config.vision_feature_layer
        count = 1 if isinstance(layers, int) else len(layers)
        return tokens_of_tower(config), config.vision_config.hidden_size * count

    def score(self, question: str, candidates: Sequence[str], images: Tensor) -> Tensor:
        """Return the log-likelihood of each candidate as the beginning of the answer, shape (B, C), float32."""
        shared, own = self.conversations.continuations(question, candidates)
        with self.computing():
            return likelihood.score_candidates(self.model, shared, own, images, self.pad)

    def write(self, asked: str | Sequence[str], begun: Sequence[str], images: Tensor, longest: int) -> list[str]:
        """Return the answers that the network writes, each going on from its own beginning.

        Args:
            asked: The question about all photographs, or one about each of the B.
            begun: What each answer begins with; may be empty.
            images: Normalised photographs (B, 3, S, S), or what `look` gave for them.
            longest: Most tokens to write.
        """
        turns = zip([asked] * len(begun) if isinstance(asked, str) else asked, begun, strict=True)
        prompts = [self.conversations.prompt(question, words) for question, words in turns]
        with self.computing():
            written = likelihood.generate(self.model, prompts, images, pad=self.pad, longest=longest)
        texts = [self.conversations.decode(row) for row in written]
        return [f"{words} {text}".strip() for words, text in zip(begun, texts, strict=True)]

    def trained_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return what trains, by part: `projector` and `language`."""
        groups: dict[str, list[nn.Parameter]] = {"language": [], "projector": []}
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                groups["projector" if "multi_modal_projector" in name else "language"].append(parameter)
        return {name: parameters for name, parameters in groups.items() if parameters}


def _source(settings: LlavaSettings) -> str:
    """Return where the weights of a base network come from, in words."""
    if settings.is_tiny:
        return "random weights, built on the spot"
    if settings.is_assembled:
        return f"{settings.language} and {settings.vision}, a fresh projector between them"
    return settings.weights


def _leave_types_to_autocast(model: Any) -> None:
    """Stop PEFT from turning the inputs of adapters into float32.

    It does so wherever autocast for CUDA is off, on a CPU even under autocast, which takes the product in
    bfloat16 all the same: two copies and a dropout of twice the width for nothing.
    """
    for module in model.modules():
        if hasattr(module, "cast_input_dtype_enabled"):
            module.cast_input_dtype_enabled = False


def build_llava(
    backbone: Mapping[str, Any], tuning: LlavaTuning, gradient_checkpointing: bool, preprocessing: Preprocessing
) -> LlavaNetwork:
    """Build the network of a `backbone` section.

    Args:
        backbone: The section.
        tuning: What trains.
        gradient_checkpointing: See `LlavaNetwork`.
        preprocessing: How photographs are prepared; a tower out of a checkpoint must have been trained so.

    Raises:
        ConfigError: If the parts do not suit each other.
    """
    settings = read_settings(backbone)
    if settings.is_assembled and not tuning.projector:
        raise ConfigError([f"tuning.projector=false would leave the fresh projector of {settings.name} untrained"])
    network = LlavaNetwork(settings, tuning, gradient_checkpointing)
    if settings.is_assembled:
        from retinai.llava.tower import check_view

        check_view(network.tower, settings, preprocessing)
    return network
