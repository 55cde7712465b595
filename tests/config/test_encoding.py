"""An option's file in another encoding than UTF-8 is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from retinai.cli import main


def test_a_prompt_in_another_encoding_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = tmp_path / "studies" / "spanish" / "experiment"
    study.mkdir(parents=True)
    words = "# @package _global_\nprompt:\n  questions: [¿Qué grado?]\n"
    (study / "spanish.yaml").write_bytes(words.encode("latin-1"))
    monkeypatch.setenv("RETINAI_EXPERIMENTS", str(tmp_path / "studies"))
    with pytest.raises(SystemExit) as left:
        main(["train", "+experiment=spanish", "model=llava", "backbone=llava_tiny"])
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert "spanish.yaml is not written in UTF-8" in said and "Traceback" not in said
