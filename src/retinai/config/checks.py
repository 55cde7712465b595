"""Checks of a composed configuration before anything is built: all problems at once."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable
from typing import Any

from omegaconf import DictConfig, OmegaConf

from retinai.config.build import TARGET, binding_problems, build, hint, resolve_target
from retinai.config.paths import conf_dir, groups_of
from retinai.errors import ConfigError

# key -> (type, lowest, highest); None in the configuration is always allowed.
_NUMBERS: dict[str, tuple[type, float, float]] = {
    "seed": (int, 0, 2**32 - 1),
    "data.batch_size": (int, 1, math.inf),
    "data.folds": (int, 2, math.inf),
    "data.fold": (int, 0, math.inf),
    "data.limit": (int, 1, math.inf),
    "backbone.input_size": (int, 16, 4096),
    "trainer.max_epochs": (int, 1, math.inf),
    "trainer.accumulate_grad_batches": (int, 1, math.inf),
    "trainer.gradient_clip_val": (float, 0, math.inf),
    "optimizer.lr": (float, 0, math.inf),
    "optimizer.weight_decay": (float, 0, math.inf),
    "optimizer.layer_decay": (float, 0, 1),
    "tuning.blocks": (int, 1, math.inf),
    "tuning.rank": (int, 1, math.inf),
    "tuning.alpha": (float, 0, math.inf),
    "tuning.dropout": (float, 0, 1),
    "consistency.weight": (float, 0, math.inf),
    "consistency.degrees": (float, 0, 180),
    "workers": (int, 1, math.inf),
    "n": (int, 1, math.inf),
    "size": (int, 16, 8192),
}
# What the commands add when they build a section, so it is not asked of the configuration.
_GIVEN: dict[str, set[str]] = {
    "data": {"preprocessing", "seed", "cache", "sampler", "augment", "views", "topology", "extras"},
    "model": {"task", "preprocessing", "class_counts", "seed", "backbone", "attention", "tuning", "loss", "optimizer",
              "prompt", "scheduler", "num_samples", "consistency", "teacher", "topology"},
    "loss": {"task", "class_counts", "num_samples"},
}  # fmt: skip


def check(command: str, cfg: DictConfig) -> None:
    """Refuse unknown keys, values out of range and combinations that make no sense.

    Args:
        command: Name of the command that composed `cfg`.
        cfg: The composed configuration.

    Raises:
        ConfigError: With one sentence for each problem.
    """
    problems = [*_unknown_top_level(command, cfg), *_missing(cfg), *_bad_numbers(cfg), *_unbound_sections(cfg)]
    problems += _senseless_combinations(cfg)
    if problems:
        raise ConfigError(problems)


def _unknown_top_level(command: str, cfg: DictConfig) -> Iterable[str]:
    import yaml

    own = yaml.safe_load((conf_dir() / f"{command}.yaml").read_text(encoding="utf-8"))
    valid = {*own, *groups_of(command), "debug"} - {"defaults", "hydra", "common"}
    valid |= {"init"} if command == "train" else set()
    return [f"retinai {command} does not know {hint(str(key), valid)}" for key in cfg if key not in valid]


def _missing(cfg: DictConfig) -> Iterable[str]:
    return [f"{key}= is needed and was not given" for key in sorted(OmegaConf.missing_keys(cfg))]


def _bad_numbers(cfg: DictConfig) -> Iterable[str]:
    for key, (kind, low, high) in _NUMBERS.items():
        value = OmegaConf.select(cfg, key, throw_on_missing=False)
        if value is None or value == "auto":
            continue
        accepted = (int,) if kind is int else (int, float)
        if isinstance(value, bool) or not isinstance(value, accepted):
            yield f"{key}={value} is not {'a whole number' if kind is int else 'a number'}"
        elif not low <= value <= high:
            bounds = f"{low:g} or more" if high == math.inf else f"{low:g} to {high:g}"
            yield f"{key}={value} is out of range ({bounds})"


def _unbound_sections(cfg: DictConfig) -> Iterable[str]:
    """Bind each section that names a class to that class's signature."""
    for name in cfg:
        node = None if OmegaConf.is_missing(cfg, name) else cfg[name]
        if isinstance(node, DictConfig) and TARGET in node:
            section = OmegaConf.to_container(node, resolve=False, throw_on_missing=False)
            yield from section_problems(str(name), section)  # type: ignore[arg-type]


def section_problems(name: str, section: dict[str, Any]) -> list[str]:
    """Return what is wrong with one configuration section against the signature of what it builds.

    Args:
        name: Group name, such as `loss`.
        section: The section with its `_target_`.
    """
    try:
        target = resolve_target(section, trusted=True)
    except ConfigError as error:
        return error.problems
    given = {key: None for key in _GIVEN.get(name, set()) if _takes(target, key)}
    own = {
        key: value for key, value in section.items() if key != TARGET and not (name == "data" and key == "preprocess")
    }
    return [f"{name}: {p}" for p in binding_problems(target, own | given, str(section[TARGET]).rpartition(".")[2])]


def _takes(target: Callable[..., Any], key: str) -> bool:
    return any(
        p.name == key or p.kind is inspect.Parameter.VAR_KEYWORD for p in inspect.signature(target).parameters.values()
    )


def _senseless_combinations(cfg: DictConfig) -> Iterable[str]:
    if cfg.get("resume") and not cfg.get("run_dir"):
        yield "resume=true needs run_dir= to say which run goes on"
    folds, fold = OmegaConf.select(cfg, "data.folds"), OmegaConf.select(cfg, "data.fold")
    if isinstance(folds, int) and isinstance(fold, int) and fold >= folds:
        yield f"data.fold={fold} does not exist with data.folds={folds}; folds count from 0 to {folds - 1}"
    if folds and OmegaConf.select(cfg, "data.split_file"):
        yield "data.split_file and data.folds both decide the split; leave one of them out"
    yield from _double_balancing(cfg)
    yield from _teaching(cfg)
    yield from _language_parts(cfg)
    yield from _topology(cfg)
    yield from _tuning(cfg)
    yield from _rounded_weights(cfg)


def _double_balancing(cfg: DictConfig) -> Iterable[str]:
    """A weighted sampler and class weights in the loss would correct the imbalance twice."""
    if cfg.get("allow_double_balancing") or OmegaConf.select(cfg, "sampler.name") != "weighted":
        return
    loss = cfg.get("loss")
    if loss is not None and TARGET in loss and getattr(resolve_target(loss, trusted=True), "balances_classes", False):
        yield (
            f"sampler=weighted and loss {loss[TARGET].rpartition('.')[2]} both balance the classes, which corrects "
            "twice; choose one of them, or set allow_double_balancing=true"
        )


_OF_LLAVA = {
    "backbone": "retinai.models.llava.settings.LlavaSettings",
    "loss": "retinai.losses.answer.AnswerLikelihood",
}


def _language_parts(cfg: DictConfig) -> Iterable[str]:
    """A LLaVA has its own backbones, loss, prompts and adapters; each of them goes with model=llava only."""
    if OmegaConf.select(cfg, "model._target_") is None:
        return
    is_llava = cfg.model[TARGET] == "retinai.modules.llava.LlavaGrader"
    for group, target in _OF_LLAVA.items():
        if (OmegaConf.select(cfg, f"{group}.{TARGET}") == target) == is_llava:
            continue
        name = OmegaConf.select(cfg, f"{group}.name")
        if is_llava:
            own = {"backbone": "backbone=llava_1_5_7b or llava_tiny", "loss": "loss=answer"}[group]
            yield f"model=llava goes with {own}, not with {group}={name}"
        else:
            yield f"{group}={name} is of a language model; add model=llava"
    if is_llava and not cfg.get("prompt"):
        yield "model=llava needs prompt=, the templates of questions and answers"
    if not is_llava and cfg.get("prompt"):
        yield "prompt= is of a language model; add model=llava"
    if not is_llava and OmegaConf.select(cfg, "tuning.name") == "qlora":
        yield "tuning=qlora is of a language model; add model=llava, or use lora, full, head or partial"


def _teaching(cfg: DictConfig) -> Iterable[str]:
    """A student needs a teacher, and a model that cannot compare views of a photograph cannot be consistent."""
    model = cfg.get("model")
    if model is None or TARGET not in model:
        return
    target = resolve_target(model, trusted=True)
    teacher = cfg.get("teacher") or {}
    yield from (f"teacher does not know {hint(str(key), ('ckpt',))}" for key in teacher if key != "ckpt")
    if _takes(target, "teacher") and not teacher.get("ckpt"):
        yield (
            f"model={model.get('name')} needs a teacher: add teacher.ckpt=RUN/checkpoints/best.ckpt of a trained "
            "grader (several: teacher.ckpt=[A,B])"
        )
    consistency = OmegaConf.select(cfg, "consistency.name") or "none"
    if consistency != "none" and not _takes(target, "consistency"):
        yield f"model={model.get('name')} knows no consistency={consistency}; set consistency=none"


def _rounded_weights(cfg: DictConfig) -> Iterable[str]:
    """Weights that are kept in 16 bits lose the small steps of training, and adapters and cut-offs with them.

    A LLaVA is no exception: its frozen part is in bfloat16 (or 4 bits) anyway, by `backbone.dtype` and `tuning`, and
    what trains must stay in float32.
    """
    precision = str(OmegaConf.select(cfg, "trainer.precision"))
    if precision in ("bf16-true", "16-true"):
        better = precision.replace("true", "mixed")
        yield (
            f"trainer.precision={precision} keeps the weights themselves in 16 bits, whose rounding loses most steps "
            f"of training (adapters and cut-offs too); use {better}, which computes in 16 bits and keeps the weights "
            "in 32"
        )


def _topology(cfg: DictConfig) -> Iterable[str]:
    """Settings that make no sense, and a model that takes no persistence images."""
    from retinai.assemble import topology_section

    try:
        section = topology_section(cfg)
    except ConfigError as error:
        yield from error.problems
        return
    model = cfg.get("model")
    if section is None or model is None or TARGET not in model:
        return
    if not _takes(resolve_target(model, trusted=True), "topology"):
        yield f"model={model.get('name')} takes no topology; set topology=none"


def _tuning(cfg: DictConfig) -> Iterable[str]:
    """Values that the class of the tuning refuses; what is told of its numbers and keys is not told twice."""
    node = cfg.get("tuning")
    if node is None or TARGET not in node or any(p.startswith("tuning.") for p in _bad_numbers(cfg)):
        return
    section: Any = OmegaConf.to_container(node, resolve=True)
    if not section_problems("tuning", section):
        try:
            build(section, trusted=True)
        except ConfigError as error:
            yield from error.problems
