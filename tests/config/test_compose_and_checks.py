"""Everything a configuration can choose composes and binds; what makes no sense is refused."""

from __future__ import annotations

import pytest
import yaml
from omegaconf import DictConfig

from retinai.cli import COMMANDS, main
from retinai.config.build import build
from retinai.config.checks import check, section_problems
from retinai.config.compose import compose
from retinai.config.paths import conf_dir, group_options, study_dirs
from retinai.errors import ConfigError

TRAIN_GROUPS = {group: options for group, options in group_options("train").items() if group != "experiment"}
OPTIONS = [(group, option) for group, options in TRAIN_GROUPS.items() for option in options]
EXPERIMENTS = sorted(p.stem for study in study_dirs() for p in (study / "experiment").glob("*.yaml"))
LANGUAGE = {
    ("backbone", "llava_1_5_7b"),
    ("backbone", "llava_small"),
    ("backbone", "llava_tiny"),
    ("loss", "answer"),
    ("tuning", "projector"),
    ("tuning", "qlora"),
}


def override(group: str, option: str) -> list[str]:
    if group == "init":
        return [f"+init={option}", *(["init.path=some.ckpt"] if option != "idrid_ckpt" else [])]
    if (group, option) == ("model", "distiller"):
        return ["model=distiller", "teacher.ckpt=some.ckpt"]
    if (group, option) == ("model", "hybrid"):
        return ["model=hybrid", "model.grader=some.ckpt"]
    language = group == "prompt" or (group, option) in LANGUAGE
    return [*(["model=llava"] if language else []), f"{group}={option}"]


@pytest.mark.parametrize(("group", "option"), OPTIONS, ids=lambda v: str(v))
def test_each_option_composes_and_binds(group: str, option: str) -> None:
    check("train", compose("train", override(group, option)))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_each_experiment_composes_and_binds(name: str) -> None:
    check("train", compose("train", [f"+experiment={name}"]))


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_each_command_composes(command: str) -> None:
    cfg = compose(command, [])
    assert isinstance(cfg, DictConfig)
    assert cfg.debug is False


def test_option_files_are_named_after_what_they_build() -> None:
    groups = "backbone data loss attention topology tuning sampler optimizer scheduler prompt"
    for group in groups.split():
        for path in (conf_dir() / group).glob("[!_]*.yaml"):
            assert yaml.safe_load(path.read_text())["name"] == path.stem, path


def test_phase_sets_the_budget_and_the_command_line_wins() -> None:
    assert compose("train", ["phase=linear_probe"]).tuning.name == "head"
    assert compose("train", ["phase=warmup"]).trainer.max_epochs == 3
    assert compose("train", ["phase=warmup", "trainer.max_epochs=7"]).trainer.max_epochs == 7
    assert compose("train", ["phase=linear_probe", "tuning=full"]).tuning.name == "full"


def test_every_bad_override_is_told_at_once_with_the_valid_choices() -> None:
    with pytest.raises(ConfigError) as caught:
        compose("train", ["data=aptoz", "optimizer.lrr=1", "nonsense=2", "seed=1"])
    text = str(caught.value)
    assert len(caught.value.problems) == 3
    assert "did you mean 'aptos'?" in text
    assert "did you mean 'lr'?" in text
    assert "nonsense" in text


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["+nonsense=1"], "nonsense"),
        (["+loss.nonsense=1"], "nonsense"),
        (["trainer.max_epochs=-1"], "trainer.max_epochs"),
        (["seed=abc"], "seed"),
        (["data.folds=5", "data.fold=5"], "data.fold=5"),
        (["resume=true"], "run_dir"),
        (["sampler=weighted", "loss=effective_number"], "allow_double_balancing"),
        (["+init=ckpt"], "init.path"),
        (["model=distiller"], "teacher.ckpt="),
        (["+teacher.chekpoint=x.ckpt"], "chekpoint"),
        (["consistency=rotation", "consistency.degrees=270"], "consistency.degrees"),
        (["consistency=rotation", "consistency.weight=-1"], "consistency.weight"),
        (["data.folds=5", "data.split_file=x.csv"], "split_file"),
        (["tuning=qlora"], "use lora, full, head or partial"),
        (["tuning=lora", "tuning.rank=0"], "tuning.rank=0"),
        (["tuning=lora", "tuning.alpha=0"], "tuning.alpha=0 is not allowed .valid: a number above 0"),
        (["tuning=lora", "tuning.alpha=abc"], "tuning.alpha=abc is not allowed .valid: a number above 0"),
        (["tuning=lora", "tuning.dropout=1"], "tuning.dropout=1"),
        (["tuning=lora", "tuning.targets=[]"], "tuning.targets=.. is not allowed"),
        (["tuning=lora", "tuning.norms=perhaps"], "tuning.norms=perhaps"),
    ],
    ids=lambda v: "_".join(v) if isinstance(v, list) else None,
)
def test_senseless_configurations_are_refused(overrides: list[str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        check("train", compose("train", overrides))


def test_a_fault_of_the_tuning_is_told_once() -> None:
    with pytest.raises(ConfigError) as caught:
        check("train", compose("train", ["tuning=lora", "tuning.rank=0", "tuning.dropout=2"]))
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize(
    ("model", "target", "rank"),
    [
        ("classifier", "retinai.encoders.lora.LoraTuning", 8),
        ("distiller", "retinai.encoders.lora.LoraTuning", 8),
        ("two_eyes", "retinai.encoders.lora.LoraTuning", 8),
        ("lesions", "retinai.encoders.lora.LoraTuning", 8),
        ("llava", "retinai.llava.adapters.LlavaTuning", 16),
    ],
)
@pytest.mark.parametrize("words", [["tuning=lora"], ["phase=linear_probe", "tuning=lora"]])
def test_lora_is_that_of_the_model(words: list[str], model: str, target: str, rank: int) -> None:
    cfg = compose("train", [*words, *override("model", model)])
    check("train", cfg)
    assert (cfg.tuning["_target_"], cfg.tuning.name, cfg.tuning.rank) == (target, "lora", rank)


def test_an_option_that_a_model_does_not_take_is_told_with_those_that_do() -> None:
    with pytest.raises(
        ConfigError, match=r"tuning=lora is not for model=vae; it goes with model=classifier, distiller"
    ):
        compose("train", ["model=vae", "tuning=lora"])


def test_double_balancing_is_allowed_on_request() -> None:
    check("train", compose("train", ["sampler=weighted", "loss=effective_number", "allow_double_balancing=true"]))


def test_all_problems_of_the_checks_come_together() -> None:
    with pytest.raises(ConfigError) as caught:
        check("train", compose("train", ["seed=-1", "trainer.max_epochs=-1", "resume=true"]))
    assert len(caught.value.problems) == 3


def test_sections_bind_to_the_signature_they_feed() -> None:
    problems = section_problems("loss", {"_target_": "retinai.errors.MissingExtraError", "package": "x", "exra": "y"})
    assert any("'exra'" in p and "did you mean 'extra'?" in p for p in problems)


@pytest.mark.parametrize("target", ["os.system", "retinai.run.folder.subprocess.run", "retinai.run.folder.datetime"])
def test_a_checkpoint_cannot_call_outsiders(target: str) -> None:
    with pytest.raises(ConfigError):
        build({"_target_": target}, object)


@pytest.mark.parametrize(
    ("argv", "code"), [(["--help"], 0), (["train", "--help"], 0), (["trian"], 2), (["--version"], 0)]
)
def test_the_command_line_answers(argv: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == code
    printed = capsys.readouterr()
    assert (printed.out if code == 0 else printed.err).strip()


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    text = capsys.readouterr().out
    assert all(option in text for _, option in OPTIONS)
