"""The sections of the network: `model`, `backbone`, `attention`, `topology`, `demographics`, `tuning`, `prompt`."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from retinai.config.sections.base import (
    UNSET,
    BuiltSection,
    Name,
    NotNegative,
    Path,
    Pixels,
    Positive,
    Section,
    Seed,
    Share,
    ShareBelowOne,
    Text,
    ThreeNumbers,
)

_Temperature = Annotated[float, Field(ge=0.01, le=100)]
_Grey = Annotated[float, Field(ge=0, le=255)]
_TwoGreys = Annotated[list[_Grey], Field(min_length=2, max_length=2)]
_Deviations = Annotated[list[Positive], Field(min_length=3, max_length=3)]
# Wider layers than this are a slip that no machine has the memory for.
_Width = Annotated[int, Field(ge=1, le=2**16)]
_Phrases = Annotated[list[Text], Field(min_length=1)]


class Classifier(BuiltSection):
    """`model=classifier`."""

    builds: ClassVar[tuple[str, ...]] = ("retinai.modules.classifier.Classifier",)
    name: Name = UNSET
    dropout: ShareBelowOne = UNSET
    hidden: _Width | None = UNSET
    test_time_flips: bool = UNSET


class Distiller(Classifier):
    """`model=distiller`."""

    builds: ClassVar[tuple[str, ...]] = ("retinai.distillation.module.Distiller",)
    temperature: _Temperature = UNSET
    alpha_start: Share = UNSET
    alpha_end: Share = UNSET


class LesionGrader(Classifier):
    """`model=lesions`."""

    builds: ClassVar[tuple[str, ...]] = ("retinai.lesion_segmentation.module.LesionGrader",)
    mask_size: Annotated[int, Field(ge=32, le=4096)] = UNSET
    crop: Annotated[int, Field(ge=32, le=4096)] = UNSET
    crops: Annotated[int, Field(ge=1, le=64)] = UNSET
    mask_weight: Positive = UNSET
    decoder_width: Annotated[int, Field(ge=8, le=1024, multiple_of=8)] = UNSET
    best_by: Literal["grade", "masks"] = UNSET


class TwoEyes(Classifier):
    """`model=two_eyes`."""

    builds: ClassVar[tuple[str, ...]] = ("retinai.two_eyes.module.TwoEyes",)


class Vae(BuiltSection):
    """`model=vae`."""

    builds: ClassVar[tuple[str, ...]] = ("retinai.vae.module.PhotographVae",)
    name: Name = UNSET
    latent: Annotated[int, Field(ge=1, le=4096)] = UNSET
    widths: Annotated[list[_Width], Field(min_length=1, max_length=8)] = UNSET
    beta: NotNegative = UNSET
    sigma: Positive = UNSET
    only: Text | None = UNSET


class Llava(BuiltSection):
    """`model=llava`."""

    builds: ClassVar[tuple[str, ...]] = ("retinai.llava.module.LlavaGrader",)
    name: Name = UNSET
    grading: Literal["score", "generate"] = UNSET
    findings: bool = UNSET
    max_answer_tokens: Annotated[int, Field(ge=1, le=4096)] = UNSET
    length_normalised: bool = UNSET
    gradient_checkpointing: bool = UNSET
    cache_vision: bool = UNSET
    labels_asked: Annotated[int, Field(ge=1, le=1000)] = UNSET


class Hybrid(Llava):
    """`model=hybrid`."""

    builds: ClassVar[tuple[str, ...]] = ("retinai.llava.hybrid.HybridGrader",)
    grading: Literal["score"] = UNSET
    grader: Path | Annotated[list[Path], Field(min_length=1)] | None = UNSET
    tell_lesions: bool = UNSET


class TokenReconstruction(BuiltSection):
    """`model=token_reconstruction`."""

    builds: ClassVar[tuple[str, ...]] = ("retinai.pretraining.module.TokenReconstruction",)
    name: Name = UNSET
    noise: Annotated[float, Field(ge=0, le=10)] = UNSET
    replaced: Share = UNSET


class Backbone(BuiltSection):
    """A network of timm."""

    builds: ClassVar[tuple[str, ...]] = ("retinai.encoders.timm_encoder.TimmEncoder",)
    name: Name = UNSET
    architecture: Text = UNSET
    weights: Path = UNSET
    input_size: Pixels = UNSET
    mean: ThreeNumbers = UNSET
    std: _Deviations = UNSET
    interpolation: Literal["bilinear", "bicubic", "area"] = UNSET
    drop_rate: ShareBelowOne = UNSET
    drop_path_rate: ShareBelowOne = UNSET
    pooling: Literal["token", "avg"] | None = UNSET
    arguments: dict[str, Any] | None = UNSET


class LlavaBackbone(BuiltSection):
    """A LLaVA of transformers."""

    builds: ClassVar[tuple[str, ...]] = ("retinai.llava.settings.LlavaSettings",)
    name: Name = UNSET
    weights: Path = UNSET
    revision: Text | None = UNSET
    input_size: Pixels = UNSET
    mean: ThreeNumbers = UNSET
    std: _Deviations = UNSET
    interpolation: Literal["bilinear", "bicubic", "area"] = UNSET
    dtype: Literal["bfloat16", "float16", "float32"] = UNSET
    billions: Positive | None = UNSET
    language: Path | None = UNSET
    vision: Path | None = UNSET
    image_tokens: Annotated[int, Field(ge=1, le=2**14)] | None = UNSET


class Attention(BuiltSection):
    """A block on the last feature map."""

    builds: ClassVar[tuple[str, ...]] = ("retinai.encoders.attention.AttentionSettings",)
    name: Literal["none", "se", "cbam", "mha"] = UNSET
    reduction: Annotated[int, Field(ge=1, le=4096)] = UNSET
    kernel_size: Annotated[int, Field(ge=1, le=31)] = UNSET
    heads: Annotated[int, Field(ge=1, le=1024)] = UNSET


class Topology(BuiltSection):
    """Persistence images beside the pixels."""

    builds: ClassVar[tuple[str, ...]] = ("retinai.topology.branch.TopologyBranch",)
    name: Literal["cubical"] = UNSET
    channel: Literal["green", "grey"] = UNSET
    size: Pixels = UNSET
    resolution: Annotated[int, Field(ge=2, le=1024)] = UNSET
    birth_range: _TwoGreys = UNSET
    persistence_range: _TwoGreys = UNSET
    sigma: Positive = UNSET
    weight: Literal["linear", "constant"] = UNSET
    min_persistence: Annotated[float, Field(ge=0, lt=255)] = UNSET
    fusion: Literal["concat", "gated"] = UNSET
    hidden: list[_Width] = UNSET
    width: _Width = UNSET
    dropout: ShareBelowOne = UNSET


class NoTopology(Section):
    """Photographs alone."""

    name: Literal["none"] = UNSET


class Demographics(BuiltSection):
    """Age and sex beside the pixels."""

    builds: ClassVar[tuple[str, ...]] = ("retinai.demographics.branch.DemographicsBranch",)
    name: Literal["age_sex"] = UNSET
    age: Text = UNSET
    sex: Text = UNSET
    female: _Phrases = UNSET
    male: _Phrases = UNSET
    width: _Width = UNSET
    hidden: Share = UNSET


class NoDemographics(Section):
    """Photographs alone."""

    name: Literal["none"] = UNSET


class Tuning(BuiltSection):
    """What trains in a network of timm."""

    builds: ClassVar[tuple[str, ...]] = ("retinai.encoders.tuning.TuningSettings",)
    name: Literal["full", "head", "partial"] = UNSET
    blocks: Annotated[int, Field(ge=1, le=1000)] | None = UNSET
    freeze_norm: bool = UNSET


class Lora(BuiltSection):
    """Low-rank matrices beside the frozen weights of a network of timm; its class checks the targets."""

    builds: ClassVar[tuple[str, ...]] = ("retinai.encoders.lora.LoraTuning",)
    name: Literal["lora"] = UNSET
    rank: Annotated[int, Field(ge=1, le=4096)] = UNSET
    alpha: Positive = UNSET
    dropout: ShareBelowOne = UNSET
    targets: Text | _Phrases = UNSET
    norms: bool = UNSET


class LlavaTuning(BuiltSection):
    """What trains in a LLaVA."""

    builds: ClassVar[tuple[str, ...]] = ("retinai.llava.adapters.LlavaTuning",)
    name: Literal["lora", "qlora", "full", "projector"] = UNSET
    rank: Annotated[int, Field(ge=1, le=4096)] = UNSET
    alpha: Positive = UNSET
    dropout: ShareBelowOne = UNSET
    targets: Text = UNSET
    projector: bool = UNSET


class Prompt(BuiltSection):
    """Templates of questions and answers; what they may hold is checked by the class itself."""

    builds: ClassVar[tuple[str, ...]] = ("retinai.llava.text.prompts.PromptTemplates",)
    name: Name = UNSET
    seed: Seed = UNSET
    questions: _Phrases = UNSET
    grade: Text = UNSET
    present: _Phrases = UNSET
    absent: _Phrases = UNSET
    referable: _Phrases = UNSET
    not_referable: _Phrases = UNSET
    label_question: Text = UNSET
    label_yes: Text = UNSET
    label_no: Text = UNSET
    told: Text = UNSET
    told_none: Text = UNSET


class ClassPrompts(BuiltSection):
    """What the classes of a task look like in words."""

    builds: ClassVar[tuple[str, ...]] = ("retinai.zero_shot.prompts.ClassPrompts",)
    name: Name = UNSET
    templates: _Phrases = UNSET
    classes: dict[str, _Phrases] = UNSET


MODELS: tuple[type[Section], ...] = (
    Classifier, Distiller, TwoEyes, LesionGrader, Vae, Llava, Hybrid, TokenReconstruction, Backbone, LlavaBackbone,
    Attention, Topology, Demographics, Tuning, Lora, LlavaTuning, Prompt, ClassPrompts,
)  # fmt: skip
