"""`model=hybrid`: a classifier's grades, a language model's words after them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_llava import write_language
from small_network import SMALL_NETWORK

from retinai.errors import CheckpointError
from retinai.modules.load import load_module

COMMON = ["trainer=cpu", "logger=none", "data.num_workers=0", "data.batch_size=5", "data=idrid",
          "trainer.max_epochs=1"]  # fmt: skip
CLASSIFIER = [*SMALL_NETWORK, "backbone.input_size=48", "loss=corn"]
PARTS = ["augment=none", "backbone=llava_small", "backbone.input_size=64", "backbone.image_tokens=4", "tuning=lora",
         "tuning.rank=4", "model.max_answer_tokens=4", "trainer.accumulate_grad_batches=1"]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hybrid")


@pytest.fixture(scope="module")
def language(folder: Path) -> str:
    return f"backbone.language={write_language(folder / 'language')}"


@pytest.fixture(scope="module")
def classifier(folder: Path, synthetic_idrid: Path, command: Callable[..., int]) -> Path:
    """Best checkpoint of a classifier with an ordinal loss, whose decision rule is the median."""
    words = [*COMMON, f"data.root={synthetic_idrid}", *CLASSIFIER, f"run_dir={folder / 'classifier'}"]
    assert command("train", *words) == 0
    return folder / "classifier" / "checkpoints" / "best.ckpt"


@pytest.fixture(scope="module")
def hybrid(folder: Path, language: str, classifier: Path, synthetic_idrid: Path, command: Callable[..., int]) -> Path:
    """Folder of a hybrid's run that tells the lesions and keeps vision tokens."""
    words = ["model=hybrid", f"model.grader={classifier}", "model.tell_lesions=true", "model.cache_vision=true"]
    words += [f"data.root={synthetic_idrid}", f"paths.cache={folder / 'cache'}", f"run_dir={folder / 'hybrid'}"]
    assert command("train", *COMMON, *PARTS, language, *words) == 0
    return folder / "hybrid"


def test_grades_are_the_classifiers_and_answers_begin_with_them(hybrid: Path, classifier: Path) -> None:
    ours, theirs = (pd.read_csv(run / "predictions.csv") for run in (hybrid, classifier.parents[1]))
    chances = [frame.filter(regex="^p_").to_numpy() for frame in (ours, theirs)]
    np.testing.assert_allclose(chances[0], chances[1], atol=1e-4)
    assert ours["prediction"].tolist() == theirs["prediction"].tolist()
    begun = [f"Grade {grade} (" for grade in ours["prediction"]]
    for column in ("answer", "template"):
        assert all(text.startswith(words) for text, words in zip(ours[column], begun, strict=True))
    record = json.loads((hybrid / "run.json").read_text())
    assert record["monitor"] == "val/answer_loss" and record["graders"][0]["ckpt"] == str(classifier)


def test_answers_are_measured_beside_templates(hybrid: Path) -> None:
    answers = json.loads((hybrid / "metrics.json").read_text())["answers"]
    template = answers["template"]
    # The lesions are told, so the template names those of the masks and no others.
    assert template["findings"]["all"]["recall"]["value"] == 1.0
    assert template["findings"]["photographs_with_invented"]["value"] == 0.0
    assert answers["contradictions"]["photographs"] == template["contradictions"]["photographs"] == answers["n"]
    assert answers["contradictions"]["references"] is not None
    page = (hybrid / "report.html").read_text()
    assert "contradict the grade that they begin with" in page and "template, filled in without looking" in page


def test_the_question_tells_the_lesions(hybrid: Path) -> None:
    module = load_module(hybrid / "checkpoints" / "best.ckpt")
    assert module.typical is not None and set(module.typical.grades) <= {0, 1, 2, 3, 4}
    found = module.typical.filled(4)
    assert found is not None and found.present
    (turn,) = module.asking.turns({"id": ["a"], "target": np.array([4]), "findings": [found]}, epoch=0)
    names = ", ".join(lesion.lesion.replace("_", " ") for lesion in found.present)
    assert turn.question.endswith(f"Lesions that were found: {names}.")


def test_predict_takes_it(hybrid: Path, synthetic_idrid: Path, command: Callable[..., int], tmp_path: Path) -> None:
    images = synthetic_idrid / "B. Disease Grading" / "1. Original Images" / "b. Testing Set" / "IDRiD_00*.jpg"
    out, best = tmp_path / "grades.csv", hybrid / "checkpoints" / "best.ckpt"
    assert command("predict", f"ckpt={best}", f"images={images}", f"out={out}", "accelerator=cpu") == 0
    assert pd.read_csv(out)["answer"].str.startswith("Grade").all()


def test_a_trained_llava_becomes_a_hybrid_of_two_graders_without_training(
    folder: Path, language: str, classifier: Path, synthetic_idrid: Path, command: Callable[..., int]
) -> None:
    data = f"data.root={synthetic_idrid}"
    llava = ["model=llava", *PARTS, language, data, "test=false", "calibrate=false", f"run_dir={folder / 'llava'}"]
    assert command("train", *COMMON, *llava) == 0
    shutil.copy(classifier, folder / "second.ckpt")
    words = [f"model.grader=[{classifier},{folder / 'second.ckpt'}]", "+init=ckpt", "trainer.max_epochs=0",
             f"init.path={folder / 'llava' / 'checkpoints' / 'best.ckpt'}", f"run_dir={folder / 'both'}"]  # fmt: skip
    assert command("train", *COMMON, "model=hybrid", *PARTS, language, data, *words) == 0
    both, alone = (pd.read_csv(run / "predictions.csv") for run in (folder / "both", classifier.parents[1]))
    assert both["prediction"].tolist() == alone["prediction"].tolist()
    weights = [load_module(folder / run / "checkpoints" / "best.ckpt").state_dict() for run in ("both", "llava")]
    assert weights[0].keys() == weights[1].keys()
    assert all((weights[0][key] == weights[1][key]).all() for key in weights[0])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "needs model.grader="),
        (["model.grader=nowhere.ckpt"], "is not there"),
        (["model.grader=HYBRID"], "a language model; choose a classifier"),
        (["model.grader=CLASSIFIER", "data.target=dme"], "choose a classifier that was trained on the same task"),
        (["model.grader=CLASSIFIER", "data.preprocess.crop=none"], "set data.preprocess.crop=fov"),
        (["model.grader=CLASSIFIER", "model.grading=generate"], "model.grading"),
        (["model.grader=[]"], "model.grader"),
    ],
)
def test_a_wrong_grader_is_refused(
    words: list[str],
    told: str,
    hybrid: Path,
    classifier: Path,
    language: str,
    synthetic_idrid: Path,
    command: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    named = {"HYBRID": str(hybrid / "checkpoints" / "best.ckpt"), "CLASSIFIER": str(classifier)}
    for name, path in named.items():
        words = [word.replace(name, path) for word in words]
    out = tmp_path / "run"
    line = ["model=hybrid", *COMMON, *PARTS, language, f"data.root={synthetic_idrid}", *words, f"run_dir={out}"]
    capsys.readouterr()
    assert command("train", *line) == 2
    assert told in capsys.readouterr().err and not out.exists()


def test_what_a_hybrid_cannot_do_is_said(
    hybrid: Path, command: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    best = f"ckpt={hybrid / 'checkpoints' / 'best.ckpt'}"
    assert command("evaluate", best, "grading=generate", f"run_dir={tmp_path / 'out'}") == 2
    assert "grading=generate means nothing for model=hybrid" in capsys.readouterr().err
    assert command("export", best, "format=hf", f"out={tmp_path / 'folder'}") == 2
    assert "it has no form but its checkpoint" in capsys.readouterr().err


def test_another_grader_than_in_the_training_is_refused(hybrid: Path, classifier: Path, tmp_path: Path) -> None:
    from retinai.encoders.checkpoint_io import AtomicCheckpointIO

    files = AtomicCheckpointIO()
    content = files.load_checkpoint(hybrid / "checkpoints" / "best.ckpt")
    content["retinai"]["graders"] = ["0" * 64]
    files.save_checkpoint(content, tmp_path / "other.ckpt")
    with pytest.raises(CheckpointError, match="is another one than in the training"):
        load_module(tmp_path / "other.ckpt")
    content["retinai"]["hparams"]["grader"] = str(tmp_path / "gone.ckpt")
    files.save_checkpoint(content, tmp_path / "other.ckpt")
    with pytest.raises(CheckpointError, match="put the file back in its place"):
        load_module(tmp_path / "other.ckpt")
