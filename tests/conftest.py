"""Fixtures that all tests share: quiet environment, small cohorts, real photographs, command line, tiny runs."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from small_network import SMALL_NETWORK
from xdist.scheduler import LoadFileScheduling

from retinai import log

pytest_plugins = ["quick_process"]

_REPOSITORY = Path(__file__).resolve().parents[1]
_ENVIRONMENT = {
    "WANDB_MODE": "offline",
    "WANDB_SILENT": "true",
    "MPLBACKEND": "Agg",
    "NO_ALBUMENTATIONS_UPDATE": "1",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",  # networks are tiny, and the files of tests run side by side
    "OMP_WAIT_POLICY": "passive",
}
# The user's own settings must not decide a test.
_UNSET = ("RETINAI_OUTPUTS", "RETINAI_CACHE", "RETINAI_APTOS", "RETINAI_ODIR", "RETINAI_EYEPACS",
          "RETINAI_MESSIDOR2", "RETINAI_DDR", "RETINAI_BRSET", "RETINAI_DEBUG", "RETINAI_EXPERIMENTS",
          "RETINAI_WEIGHTS")  # fmt: skip

# Read when matplotlib and albumentations are imported, so before any fixture runs.
os.environ.update(_ENVIRONMENT)


# `pytest -m fast`: what tests functions of arrays, tables, files and settings. Whatever builds a network, trains,
# starts a process or draws a cohort is not in it; a new file of these folders is, until it is named here as slow.
_FAST = ("config", "unit/data", "unit/lesions", "unit/losses", "unit/metrics", "unit/prediction", "unit/reports",
         "unit/run", "unit/tasks", "unit/topology")  # fmt: skip
_SLOW_FILES = ("test_run_report.py", "test_topology_branch.py", "test_topology_module.py", "test_compose_and_checks.py",
               "test_file_index.py", "test_parallel_signals.py", "test_decoding.py", "test_odir.py", "test_choices.py",
               "test_swept_options.py", "test_encoding.py", "test_idrid.py", "test_idrid_labels.py", "test_joint.py",
               "test_graded_sets.py", "test_fsdp.py", "test_cache.py", "test_log.py",
               "test_topology_figure.py")  # fmt: skip
_SLOW_FIXTURES = {"run_cli", "idrid_root", "idrid_cache"}


def _may_be_fast(file: Path) -> bool:
    """Whether a file of tests may hold some for work in progress, by its folder and name."""
    place = file.relative_to(_REPOSITORY / "tests").as_posix()
    # Files that lie in tests/unit itself test the modules that lie in src/retinai itself.
    there = place.startswith(tuple(f"{folder}/" for folder in _FAST)) or file.parent == _REPOSITORY / "tests" / "unit"
    return there and file.name not in _SLOW_FILES


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With `-m fast`, leave out files without such a test: importing all of them takes longer than running these."""
    ours = collection_path.suffix == ".py" and collection_path.is_relative_to(_REPOSITORY / "tests")
    return True if config.option.markexpr == "fast" and ours and not _may_be_fast(collection_path) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests for work in progress as `fast`, by their folder, file and fixtures."""
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        cohort = any(name.startswith("synthetic_") for name in fixtures)
        if _may_be_fast(item.path) and not (cohort or fixtures & _SLOW_FIXTURES):
            item.add_marker(pytest.mark.fast)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling:
    """Give a process whole files of tests, and one process all that need SLURM, which only one can hold at a time."""

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return "slurm" if Path(file).name.startswith("test_slurm_") else file

    return ByFile(config, log)


@pytest.fixture(autouse=True)
def quiet_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep tests offline, without a display, on one thread, and apart from the user's settings."""
    for key, value in _ENVIRONMENT.items():
        monkeypatch.setenv(key, value)
    for key in _UNSET:
        monkeypatch.delenv(key, raising=False)
    log.set_up()  # as the command line does
    if "torch" in sys.modules:  # a test that does not need torch does not pay for its import
        sys.modules["torch"].set_num_threads(1)
    yield
    os.environ.pop("WANDB_DATA_DIR", None)  # a run sets it for its own folder


@pytest.fixture(scope="session")
def synthetic_aptos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a small cohort in the layout of APTOS: 60 labelled photographs of 112 px, one of them twice."""
    return _cohort(tmp_path_factory, "aptos", 60)


@pytest.fixture(scope="session")
def synthetic_idrid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a small cohort in the layout of IDRiD: 40 training and 10 test photographs, masks in part A."""
    return _cohort(tmp_path_factory, "idrid", 50)


@pytest.fixture(scope="session")
def synthetic_odir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a small cohort in the layout of ODIR: 40 patients, both eyes."""
    return _cohort(tmp_path_factory, "odir", 80)


@pytest.fixture(scope="session")
def synthetic_odir_kaggle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a small cohort in Kaggle's layout of ODIR."""
    return _cohort(tmp_path_factory, "odir_kaggle", 60)


@pytest.fixture(scope="session")
def synthetic_odir_course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a small cohort in the course layout of ODIR."""
    return _cohort(tmp_path_factory, "odir_course", 60)


@pytest.fixture(scope="session")
def idrid_root() -> Path:
    """Folder of the real IDRiD photographs; skips the test where it is absent."""
    root = Path(os.environ.get("RETINAI_IDRID", _REPOSITORY.parent / "shared" / "data" / "idrid"))
    if not (root / "B. Disease Grading").is_dir():
        pytest.skip(f"the IDRiD photographs are not in {root}; set RETINAI_IDRID to their folder to run this test")
    return root


@pytest.fixture(scope="session")
def weights_root() -> Path:
    """The folder of published weights, or the test is skipped."""
    root = Path(os.environ.get("RETINAI_WEIGHTS", _REPOSITORY.parent / "shared" / "weights"))
    if not (root / "lwnet").is_dir():
        pytest.skip(f"the weights of lwnet are not in {root}; set RETINAI_WEIGHTS to their folder to run this test")
    return root


@pytest.fixture(scope="session")
def idrid_cache(idrid_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder that the tests of the real photographs share, so that their files are read once."""
    return tmp_path_factory.mktemp("idrid_cache")


@pytest.fixture(scope="session")
def run_cli() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs `retinai <words>` in a process of its own, offline.

    `run_cli("synthesize", "layout=aptos", cwd=folder)` gives the finished process with its exit code
    and its output as text. More environment variables go in `env`.
    """

    def run(
        *words: str | Path, cwd: Path, env: dict[str, str] | None = None, timeout: float = 300
    ) -> subprocess.CompletedProcess[str]:
        clean = {key: value for key, value in os.environ.items() if key not in _UNSET}
        command = [sys.executable, "-m", "retinai.cli", *map(str, words)]
        return subprocess.run(
            command,
            cwd=cwd,
            env={**clean, **_ENVIRONMENT, **(env or {})},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def command() -> Callable[..., int]:
    """Return a function that runs `retinai <words>` in this process and gives its exit code."""
    from retinai.cli import main

    def run(*words: str | Path) -> int:
        with pytest.raises(SystemExit) as left:
            main([str(word) for word in words])
        return int(left.value.code or 0)

    return run


@pytest.fixture(scope="session")
def tiny_runs(
    tmp_path_factory: pytest.TempPathFactory, synthetic_aptos: Path, command: Callable[..., int]
) -> list[Path]:
    """Folders of two finished runs, fold 0 and fold 1 of the same cross-validation."""
    outputs = tmp_path_factory.mktemp("outputs")
    folders = [outputs / f"fold{fold}" for fold in (0, 1)]
    for fold, folder in enumerate(folders):
        words = [
            "data=aptos", f"data.root={synthetic_aptos}", "data.folds=2", f"data.fold={fold}", "data.num_workers=0",
            *SMALL_NETWORK, "backbone.input_size=32", "trainer=cpu",
            "trainer.max_epochs=1", "logger=none", f"run_dir={folder}", f"paths.outputs={outputs}",
            f"paths.cache={outputs / 'cache'}",
        ]  # fmt: skip
        assert command("train", *words) == 0
    return folders


@pytest.fixture(scope="session")
def tiny_checkpoint(tiny_runs: list[Path]) -> Path:
    """A checkpoint of task dr_grade."""
    return tiny_runs[0] / "checkpoints" / "best.ckpt"


@pytest.fixture(scope="session")
def tiny_export(tiny_checkpoint: Path, command: Callable[..., int], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny checkpoint as a folder for ONNX Runtime."""
    out, outputs = tmp_path_factory.mktemp("exported") / "folder", tiny_checkpoint.parents[2]
    places = [f"out={out}", f"paths.outputs={outputs}", f"paths.cache={outputs / 'cache'}", "num_workers=0"]
    assert command("export", f"ckpt={tiny_checkpoint}", *places) == 0
    return out


def _cohort(factory: pytest.TempPathFactory, layout: str, n: int) -> Path:
    """Draw a cohort, once for all processes of tests that run side by side; nobody writes into its folder."""
    from retinai.synthetic.cohort import write_cohort

    own = factory.getbasetemp()
    shared = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "cohorts"
    shared.mkdir(exist_ok=True)
    out = shared / layout
    with (shared / f"{layout}.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not out.exists():
            write_cohort(out, layout, n, size=112, seed=0, workers=1, progress=False)
    return out
