"""Networks of ODIR's course, in torchvision's layout: measured as they are, head and all, or refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torchvision

from retinai.modules.load import load_module

Command = Callable[..., int]
WORDS = [
    "data=odir", "backbone.weights=none", "backbone.input_size=32", "loss=bce", "trainer=cpu", "data.num_workers=0",
    "logger=none", "data.limit=24", "calibrate=false",
]  # fmt: skip


def course_file(path: Path, architecture: str, outputs: int = 3) -> Path:
    torch.manual_seed(0)
    net = getattr(torchvision.models, architecture)(num_classes=outputs)
    for name, buffer in net.named_buffers():
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 2)
    torch.save(net.state_dict(), path)
    return path


@pytest.mark.parametrize("architecture", ["resnet18", "efficientnet_b0"])
def test_no_fine_tuning_is_a_row(
    architecture: str, synthetic_odir_course: Path, command: Command, tmp_path: Path
) -> None:
    file, run = course_file(tmp_path / "net.pt", architecture), tmp_path / "run"
    words = [f"data.root={synthetic_odir_course}", f"backbone={architecture}", f"paths.cache={tmp_path / 'cache'}"]
    start = ["+init=course_ckpt", f"init.path={file}", "trainer.max_epochs=0", f"run_dir={run}"]
    assert command("train", *WORDS, *words, *start) == 0
    assert "macro_f1" in json.loads((run / "metrics.json").read_text())
    record = json.loads((run / "run.json").read_text())
    assert (record["status"], record["epochs"], record["best_score"]) == ("finished", 0, None)

    net = getattr(torchvision.models, architecture)(num_classes=3)
    net.load_state_dict(torch.load(file, weights_only=True))
    module = load_module(run / "checkpoints" / "best.ckpt").eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(module(images), net.eval()(images), atol=1e-4, rtol=1e-4)


CASES: list[tuple[str, list[str], str]] = [
    ("resnet18", ["backbone=efficientnet_b0"], "has a head for 512 features"),
    ("resnet18", ["backbone=resnet18", "model.hidden=8"], "leave out model.hidden"),
    ("resnet18", ["backbone=resnet18", "attention=se"], "leave out model.hidden, attention"),
    ("resnet50", ["backbone=resnet18"], "has a head for 2048 features"),
    ("eight labels", ["backbone=resnet18"], "has a head of 8 outputs"),
    ("no head", ["backbone=resnet18"], "has no head"),
]


@pytest.mark.parametrize(("kind", "words", "reason"), CASES, ids=[" ".join([c[0], *c[1]]) for c in CASES])
def test_what_does_not_fit_is_refused(
    kind: str, words: list[str], reason: str, synthetic_odir_course: Path, command: Command, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    architecture, outputs = (kind, 3) if kind.startswith("resnet") else ("resnet18", 8)
    file = course_file(tmp_path / "net.pt", architecture, outputs)
    if kind == "no head":
        state = torch.load(file, weights_only=True)
        torch.save({key: value for key, value in state.items() if not key.startswith("fc")}, file)
    where = [f"data.root={synthetic_odir_course}", f"paths.cache={tmp_path / 'cache'}", f"run_dir={tmp_path / 'run'}"]
    assert command("train", *WORDS, *words, *where, "+init=course_ckpt", f"init.path={file}") == 2
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
