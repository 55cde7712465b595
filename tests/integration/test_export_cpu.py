"""An int8 folder says for which CPUs it was checked, and the runtime warns on others."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from retinai.runtime import ExportedModel, cpu
from retinai.runtime.cpu import Cpu, CpuWarning

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

Command = Callable[..., int]
OLD = Cpu("an old CPU", "x86_64", ("avx2",))
NEW = Cpu("a new CPU", "x86_64", ("avx2", "avx512_vnni"))


@pytest.mark.parametrize(
    ("reduced", "weights", "warning"),
    [
        ("true", "7 bits, so that CPUs without VNNI", "int8 without VNNI, for which nobody checked it"),
        ("false", "8 bits: for CPUs with VNNI or AMX only", "grades be wrong; export it with int8_reduce_range=true"),
    ],
)
def test_checked_on_one_cpu_and_used_on_another(
    reduced: str,
    weights: str,
    warning: str,
    tiny_checkpoint: Path,
    command: Command,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("retinai.export.folder.this_cpu", lambda: NEW)
    monkeypatch.setattr(cpu, "this_cpu", lambda: NEW)
    out = tmp_path / "folder"
    words = ["precision=int8", "int8_photographs=2", "num_workers=0", f"paths.cache={tmp_path / 'cache'}", "force=true"]
    assert command("export", f"ckpt={tiny_checkpoint}", f"out={out}", f"int8_reduce_range={reduced}", *words) == 0
    card = (out / "card.md").read_text()
    assert "On a CPU a new CPU (avx2, avx512_vnni)" in card and weights in card
    assert "Checked for CPUs that compute int8 with VNNI or AMX, and for no others" in card
    facts = json.loads((out / "model.json").read_text())
    assert Cpu.from_dict(facts["checked_on"]["cpu"]) == NEW and facts["int8_reduce_range"] is (reduced == "true")
    capsys.readouterr()

    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "none.png").touch()
    grade = ["predict", f"model={out}", f"images={photos}", "num_workers=0"]
    assert command(*grade, f"out={tmp_path / 'same.csv'}") == 0
    assert "warning" not in capsys.readouterr().err
    monkeypatch.setattr(cpu, "this_cpu", lambda: OLD)
    assert command(*grade, f"out={tmp_path / 'other.csv'}") == 0
    (said,) = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert said.startswith("warning: ") and warning in said
    with pytest.warns(CpuWarning, match="VNNI"):
        assert len(ExportedModel(out).notes) == 1


def test_a_word_for_the_range_is_refused(command: Command, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["ckpt=nowhere.ckpt", f"out={tmp_path / 'out'}", "precision=int8", "int8_reduce_range=maybe"]
    assert command("export", *words) == 2
    assert "int8_reduce_range=maybe is not allowed (valid: true, false)" in capsys.readouterr().err
