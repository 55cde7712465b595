"""slurm/README.md from `git clone` to a finished sweep, line by line, on a SLURM with HiPerGator's names.

Each line is taken from the page and run by bash, in a copy of the repository and an environment of its own. Its jobs
get no GPU, and weights are random ones of a hub on this machine, which is gone when the jobs begin. Instead of `module`
and `conda` an environment of Python is made; the packages are those that are installed here.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
import timm
import yaml
from safetensors.torch import save_file
from served_hub import served_hub
from watched_sweep import WatchedSweep

REPOSITORY = Path(__file__).resolve().parents[2]
CONF = REPOSITORY / "conf" / "backbone"
PAGE = (REPOSITORY / "slurm" / "README.md").read_text(encoding="utf-8")
STEPS = {n: PAGE.partition(f"**{n}. ")[2].partition("```\n")[2].partition("```")[0] for n in range(1, 7)}
# At the end of the lines that train: there is no GPU, and two cores.
HERE_SMOKE = "backbone.input_size=64 data.num_workers=0 data.limit=12 data.batch_size=4"
HERE = f"{HERE_SMOKE} trainer=cpu trainer.max_epochs=1 calibrate=false"


def line_with(words: str, text: str) -> str:
    """Return the one line that begins with some words, without its comment."""
    (line,) = (line for line in text.splitlines() if line.startswith(words))
    return re.sub(r" +#.*", "", line)


class LoginNode:
    """Bash of a login node, where `~/.bashrc` has the lines of steps 2 and 3 that begin with `export`.

    Args:
        blue: The shared disk, in the place of /blue.
    """

    def __init__(self, blue: Path) -> None:
        self.blue, self.home = blue, blue / "GROUP" / "me"
        self.clone = self.home / "retinai"
        exports = [line for n in (2, 3) for line in STEPS[n].splitlines() if line.startswith("export")]
        self.bashrc = "\n".join(exports).replace("/blue", str(blue))
        left_out = ("PYTHONPATH", "VIRTUAL_ENV", "RETINAI_")  # settings of whoever runs the tests
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith(left_out)}
        self.environment |= {"USER": "me", "WANDB_MODE": "offline"}

    def activate(self, place: Path) -> None:
        """Make an environment and use it from now on; it sees the packages that are installed here."""
        venv.EnvBuilder(with_pip=True, symlinks=True).create(place)
        packages = next((place / "lib").glob("python*")) / "site-packages"
        (packages / "installed_here.pth").write_text(sysconfig.get_path("purelib"))
        self.environment["PATH"] = f"{place / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"

    def run(self, line: str, folder: Path | None = None) -> str:
        """Run a line, in the copy of the repository where no folder is given; return what it prints."""
        done = subprocess.run(
            ["bash", "-euc", f"{self.bashrc}\n{line.replace('/blue', str(self.blue))}"], cwd=folder or self.clone,
            env=self.environment, capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        return done.stdout + done.stderr


def _fetch(login: LoginNode, place: Path) -> None:
    """Step 3, of which the rest is done before the sweep: the weights of both backbones from a hub on this machine."""
    line, repositories = line_with("retinai fetch", STEPS[3]), {}
    for backbone in ("vit_small", "swin_tiny"):
        net = timm.create_model(yaml.safe_load((CONF / f"{backbone}.yaml").read_text())["architecture"])
        repository = str(net.pretrained_cfg["hf_hub_id"])
        repositories[repository] = place / backbone
        repositories[repository].mkdir(parents=True)
        save_file(net.state_dict(), place / backbone / "model.safetensors")
    with served_hub(repositories) as hub:
        for backbone in ("vit_small", "swin_tiny"):
            words = f"HF_ENDPOINT={hub.address} HF_HUB_OFFLINE=0 {line.replace('vit_small', backbone)}"
            assert f"backbone={backbone} where HF_HOME is the same" in login.run(words)


@pytest.fixture(scope="module")
def login(slurm_like_hipergator: None, synthetic_aptos: Path, tmp_path_factory: pytest.TempPathFactory) -> LoginNode:
    """Steps 1 and 3: a copy of the repository, an environment with it, and the weights."""
    blue = tmp_path_factory.mktemp("cluster") / "blue"
    (blue / "GROUP" / "me").mkdir(parents=True)
    (blue / "GROUP" / "aptos").symlink_to(synthetic_aptos)
    node = LoginNode(blue)
    cloning = line_with("cd /blue", STEPS[1]).replace("<this repository>", str(REPOSITORY))
    assert str(node.clone) in node.run(f"{cloning} && pwd", folder=blue).splitlines()
    node.activate(node.home / "envs" / "retinai")
    assert "Successfully installed retinai" in node.run(line_with("pip install", STEPS[1]))
    found = node.run("which retinai; cd / && python -c 'import retinai; print(retinai.__file__)'").split()
    assert all(place.startswith(str(node.home / "envs")) for place in found), found
    _fetch(node, blue.parent / "hub")
    return node


def _submit(login: LoginNode) -> WatchedSweep:
    """Steps 3 and 4: a run of two batches on the login node, then the sweep; what was asked of SLURM."""
    login.run(f"{line_with('python train.py', STEPS[3])} {HERE_SMOKE}")
    assert "4 jobs were submitted" in login.run(f"{line_with('python train.py', STEPS[4])} {HERE}")
    sweep = WatchedSweep(login.home, jobs=4)
    sweep.folder = login.home / "outputs" / "sweeps" / "losses"
    asked = login.run(f"scontrol show job {sweep.queue_id(0)}")
    asked += "".join(file.read_text() for file in sweep.folder.glob("slurm/*.sh"))  # SLURM keeps no accounts here
    for words in ("--account=GROUP", "--qos=GROUP", "Partition=hpg-turin", "gres:gpu:l4:1", "TimeLimit=12:00:00"):
        assert words in asked, (words, asked)
    return sweep


@pytest.mark.slow  # minutes: an installation, six runs of large networks
def test_from_git_clone_to_a_finished_sweep(login: LoginNode) -> None:
    assert "hpg-turin gpu:l4:1" in login.run('sinfo -o "%P %G"')
    sweep = _submit(login)
    login.run(f"scancel {sweep.queue_id(3)}")  # one job fails; the others go on
    assert "sweep losses" in login.run(line_with("retinai runs", STEPS[5]))
    sweep.wait(lambda: sweep.states()[:3] == ["finished"] * 3, seconds=600)

    assert login.run(line_with("retinai runs", STEPS[5])).count("finished") >= 3
    login.run(line_with("retinai report", STEPS[5]))
    (sweep.folder / "report.html").unlink()
    assert "completed successfully" in login.run(line_with("tail -f", STEPS[5]).replace("tail -f", "tail"))

    assert "1 job was submitted" in login.run(line_with("python train.py", STEPS[6]))
    sweep.wait(lambda: sweep.states() == ["finished"] * 4 and (sweep.folder / "report.html").exists())


@pytest.mark.slow
def test_one_run_without_a_sweep(login: LoginNode, tmp_path: Path) -> None:
    line = line_with("sbatch --account", PAGE).replace(
        "sbatch ", f"sbatch --parsable --wait --output={tmp_path}/log ", 1
    )
    job = login.run(f"{line} {HERE} logger=none").strip()
    record = json.loads((login.home / "outputs" / "slurm" / job / "run.json").read_text())
    assert record["status"] == "finished"
