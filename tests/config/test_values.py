"""Every key of the configuration says what it may be, and what it may not be is refused before anything is made."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf, open_dict

from retinai.cli import COMMANDS
from retinai.config.build import binding_problems, resolve_target
from retinai.config.checks import check
from retinai.config.choices import load_option
from retinai.config.compose import compose
from retinai.config.devices import check_machine
from retinai.config.model_sections import is_reference
from retinai.config.paths import conf_dir
from retinai.config.sections import find, paths_and_starts
from retinai.config.sections.base import BuiltSection, Section
from retinai.config.sections.sentences import choices_of, describe, sections_in
from retinai.errors import ConfigError

OPTION_FILES = sorted(conf_dir().glob("*/*.yaml"))
NEEDED = {
    "evaluate": ["ckpt=x"],
    "predict": ["images=x", "out=x.csv"],
    "embed": ["out=x.npz"],
    "probe": ["embeddings=x.npz"],
    "export": ["ckpt=x", "out=x"],
    "synthesize": ["out=x"],
}


@cache
def composed(command: str, *choices: str) -> DictConfig:
    return compose(command, [*NEEDED.get(command, []), *choices])


def with_words(command: str, *words: str) -> DictConfig:
    """Return a command's configuration with values as Hydra reads them, without composing it each time."""
    parsed = OverridesParser.create().parse_overrides(list(words))
    choices = [o.input_line for o in parsed if (conf_dir() / o.key_or_group).is_dir()]
    cfg = composed(command, *choices).copy()
    with open_dict(cfg):
        for override in parsed:
            if override.input_line not in choices:
                OmegaConf.update(cfg, override.key_or_group, override.value())
    return cfg


# A value that is not allowed, and what of the valid ones must be told.
REFUSED = [
    ("train", "trainer.devices=0", "a whole number from 1"),
    ("train", "trainer.accelerator=tpu", "auto, cpu, gpu, cuda, mps"),
    ("train", "trainer.accelerator=foo", "auto, cpu, gpu, cuda, mps"),
    ("train", "trainer.strategy=ddp2", "did you mean ddp?"),
    ("train", "trainer.precision=foo", "bf16-mixed"),
    ("train", "trainer.limit_train_batches=-1", "a whole number from 1"),
    ("train", "trainer.limit_train_batches=1.5", "a number above 0 up to 1"),
    ("train", "trainer.limit_train_batches=0", "a whole number from 1"),
    ("train", "trainer.limit_train_batches=0.0", "a number above 0 up to 1"),
    ("train", "trainer.limit_val_batches=0", "a whole number from 1"),
    ("train", "trainer.check_val_every_n_epoch=0", "a whole number from 1"),
    ("train", "trainer.check_val_every_n_epoch=13", "no epoch would be validated"),
    ("train", "trainer.num_nodes=0", "a whole number from 1"),
    ("train", "trainer.max_epochs=null", "a whole number from 0"),
    ("train", "trainer.log_every_n_steps=0", "a whole number from 1"),
    ("train", "trainer.use_distributed_sampler=true", "false"),
    ("train", "trainer.benchmark=maybe", "true, false"),
    ("train", "trainer.fast_dev_run=true", "trainer=smoke"),
    ("train", "trainer.max_steps=5", "trainer.max_epochs"),
    ("train", "trainer.max_time=soon", "DD:HH:MM:SS"),
    ("train", "trainer.nonsense=1", "max_epochs"),
    ("train", "seed=null", "0 to 4294967295"),
    ("train", "seed=abc", "0 to 4294967295"),
    ("train", "seed=4294967296", "0 to 4294967295"),
    ("train", "data.split_seed=-5", "0 to 4294967295"),
    ("train", "data.split_seed=foo", "0 to 4294967295"),
    ("train", "data.limit=1", "a whole number from 2"),
    ("train", "data.limit=2.5", "a whole number from 2"),
    ("train", "data.near_duplicates=maybe", "true, false"),
    ("train", "data.folds=1", "from 2"),
    ("train", "data.val_fraction=1", "above 0 below 1"),
    ("train", "data.on_bad_image=ignore", "error, skip"),
    ("train", "data.preprocess.crop=circle", "fov, none"),
    ("train", "data.preprocess.nonsense=1", "clahe"),
    ("train", "data.root=", "a path, not empty"),
    ("train", "data.layout=odri", "did you mean odir?"),
    ("train", "test=maybe", "true, false"),
    ("train", "calibrate=5", "true, false"),
    ("train", "run_dir=", "a path, not empty"),
    ("train", "run_dir=' '", "a path, not empty"),
    ("train", "paths.cache=null", "a path, not empty"),
    ("train", "paths.outputs=", "a path, not empty"),
    ("train", "paths.nonsense=1", "cache"),
    ("train", "optimizer.lr=inf", "a number above 0"),
    ("train", "optimizer.lr=nan", "a number above 0"),
    ("train", "optimizer.weight_decay=inf", "a number from 0"),
    ("train", "optimizer.lr=true", "a number above 0"),
    ("train", "optimizer.betas=[0.9]", "a list"),
    ("train", "optimizer.name=sgd", "adamw"),
    ("train", "loss.label_smoothing=1", "below 1"),
    ("train", "backbone.std=[0,0,0]", "a list"),
    ("train", "backbone.name=a/b", "a name of letters"),
    ("train", "augment.transforms=[{nme: x}]", "augment.transforms"),
    ("train", "augment.transforms=[{name: HorizontlFlip}]", "HorizontalFlip"),
    ("train", "callbacks.early_stopping.patience=-1", "a whole number from 1"),
    ("train", "callbacks.best=null", "_target_"),
    ("train", "logger.thumbnails=-1", "a whole number from 0"),
    ("train", "logger.nonsense=1", "thumbnails"),
    ("train", "teacher.chekpoint=x", "did you mean 'ckpt'?"),
    ("train", "teacher=x.ckpt", "teacher.KEY=VALUE"),
    ("train", "tuning.blocks=3", "tuning=partial"),
    ("predict", "images=", "a path, not empty"),
    ("predict", "batch_size=0", "from 1"),
    ("predict", "accelerator=tpu", "auto, cpu"),
    ("predict", "format=cvs", "kaggle"),
    ("embed", "out=x.csv", ".npz or a .parquet"),
    ("embed", "pooling=max", "own, avg, token, all"),
    ("embed", "dtype=bfloat16", "float16, float32"),
    ("probe", "method=svm", "linear, knn"),
    ("probe", "shots=0", "shots"),
    ("probe", "shots=[1,200]", "shots"),
    ("probe", "target=", "a text, not empty"),
    ("probe", "draws=0", "from 1"),
    ("evaluate", "split=tset", "did you mean test?"),
    ("evaluate", "batch_size=0", "from 1"),
    ("evaluate", "ckpt=", "a path, not empty"),
    ("export", "precision=fp16", "fp32, bf16, int8"),
    ("export", "max_drop=-1", "a number from 0"),
    ("prepare", "format=png", "cache, llava_jsonl"),
    ("prepare", "workers=0", "auto, or a whole number from 1"),
    ("synthesize", "n=many", "a whole number from 1"),
    ("synthesize", "n=1000001", "from 1 to 1000000"),
    ("train", "data.n=1000001", "from 1 to 1000000"),
    ("synthesize", "size=8", "64 to 4288"),
    ("runs", "limit=-1", "a whole number from 1"),
    ("runs", "root=", "a path, not empty"),
    ("report", "resamples=0", "from 1"),
    ("report", "format=[md,pdf]", "md, csv, html"),
    ("report", "out=", "a path, not empty"),
    ("benchmark", "students=[onnx-fp64]", "onnx-fp32"),
    ("benchmark", "batch=1", "from 2"),
]  # fmt: skip


@pytest.mark.parametrize(("command", "word", "valid"), REFUSED, ids=[f"{c} {w}" for c, w, _ in REFUSED])
def test_values_that_are_not_allowed_are_refused_with_the_valid_ones(command: str, word: str, valid: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check(command, with_words(command, word))
    assert len(caught.value.problems) == 1, caught.value.problems
    said = caught.value.problems[0]
    assert word.partition("=")[0].split(".")[-1] in said and valid in said, said


@pytest.mark.parametrize(
    "words",
    [
        ["trainer.limit_train_batches=1", "trainer.limit_val_batches=0.5"],
        ["trainer.devices=[0,1]", "trainer.strategy=ddp"],
        ["trainer.devices=auto", "trainer.gradient_clip_val=null"],
        ["trainer.deterministic=warn", "trainer.min_epochs=2", "trainer.max_time='00:00:10:00'"],
        ["callbacks.early_stopping=null", "callbacks.mine={_target_: collections.OrderedDict}"],
        ["data.limit=16", "data.split_seed=3", "optimizer.lr=1", "logger.tags=[2024]"],
        ["model=distiller", "teacher.ckpt=[a.ckpt,b.ckpt]"],
    ],
    ids=" ".join,
)
def test_what_is_allowed_passes(words: list[str]) -> None:
    check("train", with_words("train", *words))


@pytest.mark.parametrize("word", ["~loss", "~backbone", "~callbacks", "~phase", "~paths", "loss=null"])
def test_a_group_that_a_run_needs_cannot_be_left_out(word: str) -> None:
    with pytest.raises(ConfigError, match=rf"{word.strip('~').partition('=')[0]}=null .*\(valid: "):
        check("train", compose("train", [word]))


def test_a_number_where_a_path_is_meant_is_read_as_text() -> None:
    cfg = with_words("train", "run_dir=2024")
    check("train", cfg)
    assert cfg.run_dir == "2024"


def test_a_class_of_the_users_own_decides_what_its_keys_may_be() -> None:
    cfg = with_words("train", "loss={_target_: builtins.dict, name: mine, label_smoothing: many}")
    with pytest.raises(ConfigError, match="dict"):  # it has no signature to bind to; the value is not judged
        check("train", cfg)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["trainer.accelerator=gpu"], "trainer.accelerator=gpu"),
        (["trainer.accelerator=cuda"], "trainer=cpu"),
        (["trainer.accelerator=cpu", "trainer.devices=[0]"], "number of processes"),
        (["trainer.accelerator=auto", "trainer.devices=[0]"], "number of processes"),
        (["trainer.accelerator=cpu", "trainer.devices=4096"], "would start 4096 processes"),
    ],
    ids=" ".join,
)
def test_devices_that_are_not_there_are_refused(words: list[str], told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    with pytest.raises(ConfigError, match=told):
        check_machine("train", with_words("train", *words))


@pytest.mark.parametrize(
    ("devices", "good"), [("2", True), ("3", False), ("[0,1]", True), ("[2]", False), ("[0,0]", False)]
)
def test_gpus_are_counted(devices: str, good: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    cfg = with_words("train", "trainer.accelerator=gpu", f"trainer.devices={devices}")
    if good:
        check_machine("train", cfg)
    else:
        with pytest.raises(ConfigError, match=r"trainer\.devices="):
            check_machine("train", cfg)


# Every key of conf/ has a declaration.


def leaves(content: Any, prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the keys of a file, down to values; the arguments of a transform are albumentations'.

    The value of a reference (`loss: ${loss}`) is declared where the section that it names is.
    """
    for key, value in (content or {}).items():
        if key in ("defaults", "hydra", "_target_") or is_reference(value):
            continue
        if isinstance(value, dict):
            yield from leaves(value, (*prefix, key))
        else:
            yield (*prefix, key)


def declaration(model: type[Section] | None, names: tuple[str, ...]) -> str:
    """Return in words what a key of a section may be; "" where nothing says so."""
    field = None
    for name in names:
        field = model.model_fields.get(name) if model else None
        model = next(sections_in(field.annotation), None) if field else None
    return describe(field) if field else ""


def declared(command: str, group: str, content: dict[str, Any], names: tuple[str, ...], of_llava: bool = False) -> str:
    """Return the declaration of a key; `group` is empty for files that speak of several sections.

    `of_llava` says that such a file is merged into `model=llava`, so that its keys are those of that option.
    """
    if group:
        return declaration(find(command, group, content), names)
    if len(names) == 1:
        return declaration(find(command, "", {}), names)
    section, own = names[0], content[names[0]]
    if "_target_" not in own:  # a file that only changes some values of an option
        own = composed(command, *(["model=llava"] if of_llava else []))[section]
    return declaration(find(command, section, own), names[1:])


# Options of `hydra/` are bound to what reads them in the tests of sweeps.
FILES = sorted(path for path in conf_dir().rglob("*.yaml") if path.relative_to(conf_dir()).parts[0] != "hydra")


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_each_key_of_each_file_says_what_it_may_be(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    content = yaml.safe_load(text) or {}
    command = path.stem if path.stem in COMMANDS and path.parent == conf_dir() else "train"
    group = "" if path.parent == conf_dir() or "@package _global_" in text else path.relative_to(conf_dir()).parts[0]
    if (
        group and [*leaves(content)] and find(command, group, content) is None
    ):  # a file that names no class, but the file below it does
        chosen = [] if path.stem.startswith("_") else [f"{group}={path.stem}"]  # what all options share is none
        content = {**content, "_target_": composed(command, *chosen)[group]["_target_"]}
    for names in leaves(content):
        if group == "prompts" and names[0] == "classes":  # named by the task
            continue
        if group == "recommendation" and names[0] == "grades":  # named by the task; checked by the section itself
            assert names[2] in paths_and_starts.Advice.model_fields
            continue
        if names[0] == "fields" and len(names) == 3:  # an argument of the field that the section names
            field = resolve_target(content["fields"][names[1]], trusted=True)
            assert names[2] == "_target_" or names[2] in inspect.signature(field).parameters
            continue
        told = declared(command, group, content, names, "llava" in f"{path.stem} {content}")
        assert told, f"{path.name}: {'.'.join(names)} has no declaration in config/sections"


def test_a_key_without_a_declaration_is_found() -> None:
    assert declaration(find("train", "logger", {}), ("thumbnails",)) == "a whole number from 0"
    assert declaration(find("train", "logger", {}), ("nonsense",)) == ""
    assert declaration(find("train", "nonsense", {}), ("name",)) == ""
    assert declared("train", "", {"data": {}}, ("data", "preprocess", "crop")) == "fov, none"
    assert declared("train", "", {"data": {}}, ("data", "preprocess", "cropp")) == ""


@pytest.mark.parametrize("path", OPTION_FILES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_each_declared_key_is_one_that_the_class_takes(path: Path) -> None:
    content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    if "_target_" not in content:
        return
    model = find("train", path.parent.name, content)
    assert model is not None and issubclass(model, BuiltSection)
    group, apart = path.parent.name, set[str]()
    if group == "data":  # keys that the run takes itself: the preprocessing, and the switches of fields
        apart = {"preprocess", *load_option(group, path.stem)[0]["fields"]}
    keys = {key: None for key in model.model_fields if key not in apart}
    problems = binding_problems(resolve_target(content), keys, "")
    assert not [p for p in problems if "does not know" in p], problems


def words_of(command: str, group: str, key: str) -> set[str]:
    """Return the choices that a key has by its declaration."""
    section = {} if not group else composed(command)[group]
    model = find(command, group, section)
    assert model is not None
    return set(choices_of(model.model_fields[key].annotation))


def test_choices_are_those_of_the_code_that_takes_them() -> None:
    from retinai.benchmark.networks import ENGINES
    from retinai.benchmark.rows import BASELINES
    from retinai.data.sources.label_table import SPLITS
    from retinai.export.formats import GRAPH_EXPORTERS
    from retinai.llava.module import LlavaGrader
    from retinai.modules.optimization import _OPTIMIZERS, _SCHEDULERS
    from retinai.prediction.layouts import LAYOUTS
    from retinai.synthetic.cohort import LAYOUTS as COHORTS
    from retinai.synthetic.datamodule import _READERS

    exporters = GRAPH_EXPORTERS | LlavaGrader.exporters(None)  # type: ignore[arg-type]
    precisions = {precision for exporter in exporters.values() for precision in exporter.precisions}
    for (command, group, key), taken in {
        ("benchmark", "", "students"): ENGINES,
        ("benchmark", "", "baselines"): BASELINES,
        ("export", "", "format"): exporters,
        ("export", "", "precision"): precisions,
        ("evaluate", "", "split"): SPLITS,
        ("predict", "", "format"): LAYOUTS,
        ("synthesize", "", "layout"): COHORTS,
        ("train", "data", "layout"): _READERS,
        ("train", "optimizer", "name"): _OPTIMIZERS,
        ("train", "scheduler", "name"): _SCHEDULERS,
    }.items():
        assert words_of(command, group, key) == set(taken), (command, key)
