"""A file of one's own that cannot be read, or not as UTF-8, is named."""

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


UNREADABLE = {
    "a tab": ("a:\n\t- 1\n", "mine.yaml, line 3, is no YAML that can be read (found character"),
    "a key twice": ("seed: 1\nseed: 2\n", "mine.yaml, line 3, is no YAML that can be read (found duplicate key seed)"),
    "code": ("seed: !!python/object/apply:os.getcwd []\n", "mine.yaml, line 2, is no YAML that can be read"),
    "itself": ("defaults:\n  - mine\n", "mine.yaml names itself in its defaults"),
    "nested": (f"a: {'[' * 3000}\n", "nests brackets too deeply"),
    "no package": ("", "has to begin with the line '# @package _global_'"),
    "a reference to nothing": (
        "data:\n  batch_size: ${nosuch}\n",
        "Interpolation key 'nosuch' not found (key data.batch_size)",
    ),
    "half a reference": ("seed: ${\n", "mine.yaml holds a reference ${...} that cannot be read (no viable"),
}


@pytest.mark.parametrize("more", [["+experiment=mine"], ["-m", "+experiment=mine", "seed=0,1"]], ids=["one", "sweep"])
@pytest.mark.parametrize(("content", "told"), UNREADABLE.values(), ids=UNREADABLE)
def test_an_experiment_that_cannot_be_read_is_named(
    content: str, told: str, more: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    study = tmp_path / "studies" / "own" / "experiment"
    study.mkdir(parents=True)
    (study / "mine.yaml").write_text(f"# @package _global_\n{content}" if content else "seed: 1\n")
    monkeypatch.setenv("RETINAI_EXPERIMENTS", str(tmp_path / "studies"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        main(["train", *more])
    said = capsys.readouterr().err
    assert left.value.code == 2 and told in said and "Traceback" not in said
    assert [path.name for path in tmp_path.iterdir()] == ["studies"]
