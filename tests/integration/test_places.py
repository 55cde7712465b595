"""Places that cannot be written are refused before work begins, and results that are there are not overwritten."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from small_network import SMALL_NETWORK

from retinai.errors import UserError
from retinai.files import write_text
from retinai.output_folders import check_file, check_folder, make_unique, remove_leftovers, whole_folder

Command = Callable[..., int]
LONG = "x" * 300


@pytest.fixture
def places(tmp_path: Path) -> Iterator[dict[str, tuple[Path, str]]]:
    """Places below which nothing can be written, with what is said of them."""
    (tmp_path / "file").touch()
    found = {"file": (tmp_path / "file", "file is no folder"), "long": (tmp_path / LONG, "too long")}
    locked = tmp_path / "locked"
    locked.mkdir()
    frozen = shutil.which("chattr") is not None and not subprocess.call(["chattr", "+i", locked], stderr=-3)
    if not frozen:
        locked.chmod(0o500)
    if not os.access(locked, os.W_OK):
        found["locked"] = (locked, "not permitted" if frozen else "denied")
    if Path("/proc/self").exists():
        found["proc"] = (Path("/proc/nothing"), "cannot be written")
    yield found
    subprocess.call(["chattr", "-i", locked], stderr=-3) if frozen else locked.chmod(0o700)


KINDS = ["file", "long", "locked", "proc"]
TINY = [*SMALL_NETWORK, "trainer=cpu", "logger=none", "data.n=10", "data.size=64"]
# Words of each command but its place, and the key of the place.
COMMANDS = [
    ("train", TINY, "run_dir"),
    ("train", TINY, "paths.outputs"),
    ("train", TINY, "paths.cache"),
    ("predict", ["ckpt=CKPT", "images=IMAGES"], "out"),
    ("evaluate", ["ckpt=CKPT"], "run_dir"),
    ("evaluate", ["ckpt=CKPT"], "paths.cache"),
    ("export", ["ckpt=CKPT"], "out"),
    ("export", ["ckpt=CKPT", "out=new"], "paths.cache"),
    ("report", ["RUN"], "out"),
    ("report", ["RUN"], "paths.outputs"),
    ("synthesize", ["n=12", "size=64"], "out"),
    ("segment", ["images=IMAGES", "vessels=sato"], "out"),
    ("benchmark", ["quick=true"], "run_dir"),
    ("prepare", ["data=synthetic"], "run_dir"),
    ("prepare", ["data=synthetic", "format=llava_jsonl"], "out"),
]


@pytest.mark.parametrize(
    ("name", "words", "key", "kind"),
    [*((*case, "file") for case in COMMANDS), *((*case, kind) for case in COMMANDS[3:5] for kind in KINDS[1:])],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_place_that_cannot_be_written_is_one_sentence(
    tiny_runs: list[Path],
    synthetic_aptos: Path,
    places: dict[str, tuple[Path, str]],
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    words: list[str],
    key: str,
    kind: str,
) -> None:
    if kind not in places:
        pytest.skip(f"this machine has no place of the kind {kind}")
    monkeypatch.chdir(tmp_path)
    place, said = places[kind]
    ckpt = tiny_runs[0] / "checkpoints" / "best.ckpt"
    images = synthetic_aptos / "train_images"
    words = [
        w.replace("CKPT", str(ckpt)).replace("IMAGES", str(images)).replace("RUN", str(tiny_runs[0])) for w in words
    ]
    before = sorted(p.name for p in tmp_path.iterdir())
    assert command(name, *words, f"{key}={place / 'a' / 'b.csv'}") == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {key}=") and said in error and error.count("\n") == 1, error
    assert "Traceback" not in error
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_a_report_that_is_no_evaluation_is_not_overwritten(
    tiny_runs: list[Path], tiny_checkpoint: Path, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "report.html").write_text("mine")
    cache = f"paths.cache={tiny_runs[0].parent / 'cache'}"
    assert command("evaluate", f"ckpt={tiny_checkpoint}", f"run_dir={tmp_path}", cache, "accelerator=cpu") == 2
    assert "holds report.html already" in capsys.readouterr().err
    assert (tmp_path / "report.html").read_text() == "mine"


def test_results_are_not_overwritten_without_being_asked(
    tiny_runs: list[Path],
    tiny_checkpoint: Path,
    synthetic_aptos: Path,
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    small = tmp_path / "photographs"
    small.mkdir()
    for photograph in sorted((synthetic_aptos / "train_images").iterdir())[:2]:
        shutil.copy(photograph, small)
    cache = f"paths.cache={tiny_runs[0].parent / 'cache'}"
    machine = ("accelerator=cpu", "num_workers=0")
    cases = {
        "predict": ([f"ckpt={tiny_checkpoint}", f"images={small}", f"out={tmp_path / 'p.csv'}", *machine], "p.csv"),
        "report": ([tiny_runs[0], f"out={tmp_path / 'r'}", "format=csv"], "r/report.csv"),
        "evaluate": (
            [f"ckpt={tiny_checkpoint}", f"run_dir={tmp_path / 'e'}", cache, *machine],
            "e/metrics.json",
        ),
    }
    for name, (words, result) in cases.items():
        file = tmp_path / result
        assert command(name, *words) == 0
        file.write_text("precious\n")
        capsys.readouterr()
        with monkeypatch.context() as patched:
            if name == "report":  # told before the work
                patched.setattr("retinai.reports.compare.compare", lambda *_, **__: pytest.fail("compared"))
            assert command(name, *words) == 2
        assert "overwrite=true" in capsys.readouterr().err
        assert file.read_text() == "precious\n"
        assert command(name, *words, "overwrite=true") == 0
        assert file.read_text() != "precious\n"


def test_a_name_that_a_command_chose_is_never_taken_twice(tmp_path: Path) -> None:
    assert [make_unique(tmp_path / "report").name for _ in range(3)] == ["report", "report-2", "report-3"]


@pytest.fixture
def dead() -> int:
    """The number of a process that is no more."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_leftovers_of_dead_processes_go_and_those_of_living_ones_stay(tmp_path: Path, dead: int) -> None:
    host, day = socket.gethostname(), 86400
    gone = [
        f".out.{host}-{dead}.partial",
        f".out.{host}-{dead}.csv",
        f".out.{host}-{dead}-x7_a",
        ".out.elsewhere-9-1-12.csv",
    ]
    kept = [
        f".out.{host}-{os.getpid()}.csv",
        ".out.elsewhere-9-13.csv",
        f".other.{host}-{dead}.csv",
        "out.csv",
        ".out.txt",
    ]
    for name in (*gone, *kept):
        (tmp_path / name).mkdir() if name.endswith("partial") else (tmp_path / name).touch()
    (tmp_path / gone[0] / "part").touch()
    old = time.time() - 2 * day
    os.utime(tmp_path / gone[-1], (old, old))
    assert remove_leftovers(tmp_path, "out") == len(gone)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(kept)


def test_a_folder_is_whole_or_not_there(tmp_path: Path, dead: int) -> None:
    left = tmp_path / f".out.{socket.gethostname()}-{dead}.partial"
    left.mkdir()
    with pytest.raises(RuntimeError), whole_folder(tmp_path / "out") as folder:
        assert not left.exists()
        (folder / "half").touch()
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with whole_folder(tmp_path / "out") as folder:
        (folder / "whole").touch()
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["whole"]
    with pytest.raises(UserError, match="filled by another job"), whole_folder(tmp_path / "out"):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_names_as_long_as_the_disk_takes_are_written(tmp_path: Path) -> None:
    file = tmp_path / ("a" * 251 + ".csv")
    assert check_file(file, "out") == file
    write_text(file, "x")
    assert [p.name for p in tmp_path.iterdir()] == [file.name]
    assert check_folder(tmp_path / "b" / ("c" * 255), "out").name == "c" * 255
    for name in ("a" * 252 + ".csv", "ä" * 130 + ".csv"):
        with pytest.raises(UserError, match="too long"):
            check_file(tmp_path / name, "out")
    with pytest.raises(UserError, match="too long"):
        check_folder(tmp_path / "/".join(["d" * 200] * 30), "out")


def test_writing_to_a_place_that_is_gone_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"a\.txt cannot be written: file exists"):
        write_text(tmp_path / "file" / "a.txt", "x")


def test_a_command_that_is_started_in_a_folder_that_is_gone_says_so(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert command("runs", f"root={tmp_path}") == 2
    assert "no longer there" in capsys.readouterr().err


def test_leftovers_of_any_name_are_found_by_the_host(tmp_path: Path, dead: int) -> None:
    host = socket.gethostname()
    for name in (f".a-n9.{host}-{dead}-x_1", f".b.{host}-{os.getpid()}-x_1", ".hidden", ".c.elsewhere-9-1"):
        (tmp_path / name).mkdir()
    assert remove_leftovers(tmp_path, None) == 1
    assert not (tmp_path / f".a-n9.{host}-{dead}-x_1").exists()
