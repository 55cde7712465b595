"""A checkpoint of somebody else's calls nothing: wherever it may name a class, only the expected kind is made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from module_factory import make_classifier, section, write

from retinai.config.build import build, settings_from
from retinai.errors import CheckpointError, ConfigError
from retinai.llava.adapters import read_tuning
from retinai.llava.settings import read_settings
from retinai.llava.text.prompts import PromptTemplates
from retinai.losses.base import Criterion
from retinai.modules.load import load_module
from retinai.run.checkpoint_data import trained_on

# Where a classifier's checkpoint names, or may name, what is built of a section.
PLACES = ["backbone", "attention", "tuning", "loss", "optimizer", "scheduler", "consistency", "branches"]


@pytest.fixture(scope="module")
def content() -> dict[str, Any]:
    """A checkpoint without its weights: what it names is refused before they are looked at."""
    checkpoint: dict[str, Any] = {"state_dict": {}}
    make_classifier().on_save_checkpoint(checkpoint)
    return checkpoint


@pytest.fixture
def witness(tmp_path: Path) -> Path:
    return tmp_path / "executed"


def writes(witness: Path) -> dict[str, Any]:
    """A section that writes a file when it is called."""
    return {"_target_": "retinai.files.write_text", "path": str(witness), "text": "executed"}


def runs_a_shell(witness: Path) -> dict[str, Any]:
    """A section whose own sections are a user's and may name anything: a shell command, by the old ways."""
    shell = {"_target_": "subprocess.check_call", "popenargs": ["touch", str(witness)]}
    nodes = {"best": {"_target_": "os.system", "command": f"touch {witness}"}, "last": shell, "metrics_csv": shell}
    return {"_target_": "retinai.callbacks.make_callbacks", "nodes": nodes, "run_folder": ".", "monitor": ""}


def refused(content: dict[str, Any], path: Path, **changes: Any) -> str:
    extras = {**content["retinai"], **changes}
    with pytest.raises(CheckpointError) as caught:
        load_module(write({**content, "retinai": extras}, path))
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("section_of", [writes, runs_a_shell])
@pytest.mark.parametrize("place", PLACES)
def test_nothing_is_called_at_any_place(
    content: dict[str, Any], tmp_path: Path, witness: Path, place: str, section_of: Any
) -> None:
    hostile = section_of(witness)
    hparams = {**content["retinai"]["hparams"], place: {"topology": hostile} if place == "branches" else hostile}
    said = refused(content, tmp_path / "hostile.ckpt", hparams=hparams)
    assert f"_target_ {hostile['_target_']!r} is no " in said
    assert not witness.exists()


@pytest.mark.parametrize("section_of", [writes, runs_a_shell])
def test_nothing_is_called_for_the_module_itself(
    content: dict[str, Any], tmp_path: Path, witness: Path, section_of: Any
) -> None:
    hostile = section_of(witness)
    target = hostile.pop("_target_")
    assert "is no GradingModule" in refused(content, tmp_path / "h.ckpt", target=target, hparams=hostile)
    hparams = {**content["retinai"]["hparams"], **hostile, "_target_": target}
    refused(content, tmp_path / "twice.ckpt", hparams=hparams)
    assert not witness.exists()


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "retinai.modules.load.Path",
        "retinai.tasks.task.Task",
        "retinai.modules.base.BaseModule",  # without a network
        "retinai.modules.nowhere.Classifier",
        "Classifier",
        "../../x",
        "",
    ],
)
def test_a_target_that_is_no_module_is_refused(content: dict[str, Any], tmp_path: Path, target: str) -> None:
    refused(content, tmp_path / "target.ckpt", target=target)


@pytest.mark.parametrize(
    "changes",
    [
        {"hparams": {}},
        {"hparams": []},
        {"task": {"name": "dr_grade"}},
        {"task": None},
        {"preprocessing": {"input_size": 10**9, "mean": [0.5] * 3, "std": [0.5] * 3}},
        {"preprocessing": {"input_size": 32, "mean": [0.5] * 3, "std": [0.0] * 3}},
        {"calibration": {"temperature": 0.0, "scaling": "softmax"}},
        {"calibration": {"temperature": "1", "scaling": "softmax"}},
        {"calibration": {"temperature": 1.0}},
        {"frozen": "none"},
        {"data": "aptos"},
        {"version": 3},
        {"backbone": None},
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(content: dict[str, Any], tmp_path: Path, changes: dict[str, Any]) -> None:
    refused(content, tmp_path / "senseless.ckpt", **changes)


@pytest.mark.parametrize(("place", "key", "value"), [("preprocessing", "input_size", 0), ("task", "name", "other")])
def test_arguments_that_contradict_what_stands_beside_them_are_refused(
    content: dict[str, Any], tmp_path: Path, place: str, key: str, value: Any
) -> None:
    hparams = content["retinai"]["hparams"]
    changed = {**hparams, place: {**hparams[place], key: value}}
    refused(content, tmp_path / "arguments.ckpt", hparams=changed)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("value", ["text", 7, ["a"], {"name": ["a"]}, {"unknown": 1}], ids=str)
def test_sections_of_another_form_are_refused(content: dict[str, Any], tmp_path: Path, place: str, value: Any) -> None:
    hparams = {**content["retinai"]["hparams"], place: value}
    refused(content, tmp_path / "section.ckpt", hparams=hparams)


@pytest.mark.parametrize("state", ["text", {"network.head.weight": "text"}, {"network.head.weight": {}}], ids=str)
def test_weights_that_are_no_tensors_are_refused(content: dict[str, Any], tmp_path: Path, state: Any) -> None:
    with pytest.raises(CheckpointError, match="more than tensors"):
        load_module(write({**content, "state_dict": state}, tmp_path / "state.ckpt"))


@pytest.mark.parametrize("section_of", [writes, runs_a_shell])
def test_sections_of_a_language_model_call_nothing(witness: Path, section_of: Any) -> None:
    hostile = section_of(witness)
    for read in (
        read_settings,
        read_tuning,
        lambda s: read_tuning({"name": "full", **s}),
        lambda s: settings_from(section("prompt", "default") | s, PromptTemplates),
    ):
        with pytest.raises(ConfigError, match="is no "):
            read(hostile)
    assert not witness.exists()


APTOS = "retinai.data.sources.aptos.AptosDataModule"


@pytest.mark.parametrize(
    "data",
    [
        {"_target_": "os.system", "command": "touch executed"},
        {"_target_": "retinai.files.write_text", "path": "executed", "text": ""},
        {"_target_": "retinai.data.sources.aptos.AptosDataModule", "root": "${oc.env:HOME}"},
        {"name": "aptos"},
        {"_target_": APTOS, "fields": {"x": {"_target_": "os.system", "command": "touch executed"}}},
        {
            "_target_": APTOS,
            "x": False,
            "fields": {"x": {"y": {"_target_": "retinai.files.write_text", "path": "executed"}}},
        },
        {"_target_": APTOS, "fields": "os.system"},
        {"_target_": APTOS, "fields": {"x": ["os.system"]}},
    ],
    ids=str,
)
def test_the_data_section_of_a_checkpoint_names_a_data_set_and_nothing_else(data: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match=r"names no data set of retinai .*add data="):
        trained_on(data, Path("a.ckpt"))


def test_a_class_of_the_expected_kind_is_built() -> None:
    spec = {"_target_": "retinai.losses.cross_entropy.CrossEntropy"}
    task = make_classifier().task
    assert isinstance(build(spec, Criterion, task=task, class_counts=[1] * 5), Criterion)
    with pytest.raises(ConfigError, match=r"CrossEntropy' is no PromptTemplates"):
        build(spec, PromptTemplates)
    with pytest.raises(ConfigError, match="is no Criterion"):
        build({"_target_": "os.system", "command": "true"}, Criterion, trusted=True)
