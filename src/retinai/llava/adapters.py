"""What trains in a LLaVA: LoRA adapters on the language model, the projector, or both networks' joint whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from omegaconf import DictConfig
from torch import nn

from retinai.config.build import TARGET, check_own_kind
from retinai.encoders.tuning import Tuning, TuningReport
from retinai.errors import ConfigError
from retinai.llava.settings import only_for_llava

PROJECTOR = "multi_modal_projector"
# CLIP's layers have projections of the same names, so the language model is part of the pattern.
_LANGUAGE_LAYERS = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
_NAMES = ("qlora", "lora", "full", "projector")


@dataclass(frozen=True)
class LlavaTuning(Tuning):
    """What trains, and in which precision the rest is kept.

    Args:
        name: `qlora` (frozen weights in 4 bits, adapters train), `lora` (frozen weights as they are),
            `full` (the language model itself trains) or `projector` (nothing but the projector trains).
        rank: Rank of the adapters.
        alpha: Their scale is alpha / rank.
        dropout: Probability of dropping an input of an adapter.
        targets: Regular expression of the layers that get an adapter, matched against whole names.
        projector: Whether the projector between vision tower and language model trains too.

    The vision tower never trains.

    Source: Hu et al., "LoRA", ICLR 2022; Dettmers et al., "QLoRA", NeurIPS 2023.
    """

    name: str = "qlora"
    rank: int = 16
    alpha: float = 32
    dropout: float = 0.05
    targets: str = _LANGUAGE_LAYERS
    projector: bool = True

    def __post_init__(self) -> None:
        problems = []
        if self.name not in _NAMES:
            problems.append(f"tuning.name={self.name} does not suit a LLaVA; valid: {', '.join(_NAMES)}")
        if self.rank < 1:
            problems.append(f"tuning.rank={self.rank} must be 1 or more")
        if not 0 <= self.dropout < 1:
            problems.append(f"tuning.dropout={self.dropout} is out of range (0 up to, not including, 1)")
        if self.name == "projector" and not self.projector:
            problems.append("tuning=projector with tuning.projector=false leaves nothing to train")
        if problems:
            raise ConfigError(problems)

    @classmethod
    def config_problems(cls, cfg: DictConfig) -> Iterable[str]:
        """Return that it was chosen for another kind of model."""
        return only_for_llava(cfg, "tuning", ", or use lora, full, head or partial")

    @property
    def has_adapters(self) -> bool:
        """Whether adapters train beside the language model's own weights."""
        return self.name in ("qlora", "lora")

    @property
    def shape(self) -> dict[str, Any]:
        """What two runs must share so that the adapters of one fit the other."""
        if not self.has_adapters:
            return {"tuning": self.name}
        return {"tuning": "lora", "rank": self.rank, "alpha": self.alpha, "targets": self.targets}


def read_tuning(section: Mapping[str, Any]) -> LlavaTuning:
    """Return the settings of a `tuning` section; `tuning=full` is shared with the other models.

    Raises:
        ConfigError: If the section is of a tuning that a LLaVA does not have.
    """
    check_own_kind(section, Tuning)
    values = {k: v for k, v in section.items() if k != TARGET}
    if values.get("name") not in _NAMES:
        raise ConfigError([f"tuning={values.get('name')} does not suit model=llava; valid: {', '.join(_NAMES)}"])
    if values["name"] == "full":
        values = {"name": "full", "projector": values.get("projector", True)}
    return LlavaTuning(**values)


def apply_llava_tuning(model: nn.Module, tuning: LlavaTuning) -> nn.Module:
    """Freeze a LLaVA and add what trains.

    Frozen weights keep their type: PEFT's `prepare_model_for_kbit_training` would turn embeddings,
    output layer and vision tower into float32, which at 7B costs more than the 4-bit layers save.

    Args:
        model: A `LlavaForConditionalGeneration`.
        tuning: What trains.

    Returns:
        The PEFT model with adapters, or with `full` and `projector` the model itself.

    Raises:
        ConfigError: If `targets` matches no layer.
    """
    model.requires_grad_(False)
    if not tuning.has_adapters:
        for name, parameter in model.named_parameters():
            projects = PROJECTOR in name
            language = "vision_tower" not in name and not projects and tuning.name == "full"
            trains = language or (projects and tuning.projector)
            parameter.requires_grad_(trains)
            if trains:
                parameter.data = parameter.data.float()  # small updates would vanish in bfloat16
        return model
    return _with_adapters(model, tuning)


def _with_adapters(model: nn.Module, tuning: LlavaTuning) -> nn.Module:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=tuning.rank,
        lora_alpha=tuning.alpha,  # type: ignore[arg-type]  # PEFT takes fractions too
        lora_dropout=tuning.dropout,
        target_modules=tuning.targets,
        modules_to_save=[PROJECTOR] if tuning.projector else None,
        bias="none",
        task_type="CAUSAL_LM",
    )
    try:
        adapted = get_peft_model(model, config)
    except ValueError as error:
        if "not found in the base model" not in str(error) and "No modules were targeted" not in str(error):
            raise
        raise ConfigError([f"tuning.targets={tuning.targets!r} matches no layer of the network"]) from error
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()  # small updates would vanish in bfloat16
    return adapted


def report_tuning(model: nn.Module) -> TuningReport:
    """Return how many parameters train and how many do not; packed 4-bit weights count unpacked."""
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    frozen = sum(_count(p) for p in model.parameters() if not p.requires_grad)
    return TuningReport(trainable, frozen, ())


def _count(parameter: nn.Parameter) -> int:
    quantised = getattr(parameter, "quant_state", None)
    return quantised.shape.numel() if quantised is not None else parameter.numel()


def hold_only(network: nn.Module, trained: frozenset[str]) -> None:
    """Let the state dict of a network hold what trains alone, and miss nothing else when it is loaded.

    Args:
        network: The network.
        trained: Names of the parameters that train.
    """
    network.register_state_dict_post_hook(partial(_leave_out, trained))
    network.register_load_state_dict_post_hook(partial(_do_not_miss, trained))


def _leave_out(trained: frozenset[str], network: nn.Module, state: dict[str, Any], prefix: str, metadata: Any) -> None:
    kept = {prefix + name for name in trained}
    for key in [k for k in state if k.startswith(prefix) and k not in kept]:
        del state[key]


def _do_not_miss(trained: frozenset[str], network: nn.Module, incompatible: Any) -> None:
    keys = incompatible.missing_keys
    keys[:] = [key for key in keys if any(key.endswith(name) for name in trained)]
