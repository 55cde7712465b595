"""The student of docs/speed.md: trained on IDRiD, then measured beside the networks that it replaces.

    python benchmarks/student.py idrid=FOLDER               trains, measures, writes out=outputs/speed
    python benchmarks/student.py idrid=FOLDER docs=true     also puts the figures into README.md and docs/speed.md
    python benchmarks/student.py idrid=FOLDER quick=true    does everything work? the times say nothing

1. An EfficientNet-Lite0 is trained on IDRiD, unless out= holds it from an earlier call.
2. `retinai benchmark` measures it: benchmark.json, benchmark.md and benchmark.png in out=/efficientnet_lite0.
3. The same for an untrained EfficientNet-B2 beside ResNet-101, in out=/efficientnet_b2.

Nothing else should run on the machine: half an hour on 2 cores, and 20 GB of memory. With quick=true docs= is refused.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))
_PHOTOGRAPHS = Path("B. Disease Grading") / "1. Original Images" / "b. Testing Set"


def main() -> None:
    """Train where needed, measure both students, and write the figures into the documents where that is asked for."""
    from benchmarks.common import read_options

    defaults = {"idrid": "", "out": "outputs/speed", "docs": "false", "quick": "false"}
    options = read_options(sys.argv[1:], defaults, __file__)
    idrid, out = Path(options["idrid"]).expanduser().resolve(), Path(options["out"]).resolve()
    quick, docs = options["quick"] == "true", options["docs"] == "true"
    if not options["idrid"] or not (idrid / _PHOTOGRAPHS).is_dir():
        sys.exit(f"error: idrid={options['idrid']} must be the folder of IDRiD, which holds '{_PHOTOGRAPHS}'")
    if quick and docs:
        sys.exit("error: quick=true measures nothing that could go into the documents; leave out one of the two")
    trained = measure(idrid, out, quick)
    pages = {name: json.loads((out / name / "benchmark.json").read_text(encoding="utf-8")) for name in trained}
    table = readme_table(pages["efficientnet_lite0"], pages["efficientnet_b2"])
    print(table)
    if docs:
        put(REPOSITORY / "README.md", "student", table)
        for name in pages:
            put(REPOSITORY / "docs" / "speed.md", name, (out / name / "benchmark.md").read_text(encoding="utf-8"))
        shutil.copyfile(out / "efficientnet_lite0" / "benchmark.png", REPOSITORY / "docs" / "figures" / "speed.png")


def measure(idrid: Path, out: Path, quick: bool) -> list[str]:
    """Train the student where `out` has none, measure both; return the names of the folders in `out`."""
    student = out / "student"
    best = student / "checkpoints" / "best.ckpt"
    if not best.exists():
        epochs = ["trainer.max_epochs=1", "data.limit=20"] if quick else ["trainer.max_epochs=8"]
        retinai("train", "data=idrid", f"data.root='{idrid}'", "tuning=partial", "loss=corn", *epochs,
                f"run_dir='{student}'")  # fmt: skip
    more = ["quick=true"] if quick else []
    retinai("benchmark", f"ckpt='{best}'", f"images='{idrid / _PHOTOGRAPHS}'",
            f"run_dir='{out / 'efficientnet_lite0'}'", *more)  # fmt: skip
    retinai("benchmark", "backbone=efficientnet_b2", "baselines=[resnet101]", "untrained=[]",
            f"run_dir='{out / 'efficientnet_b2'}'", *more)  # fmt: skip
    return ["efficientnet_lite0", "efficientnet_b2"]


def retinai(*words: str) -> None:
    """Run a command of retinai, and leave with its exit code if it fails."""
    print("retinai", *words, flush=True)
    done = subprocess.run([sys.executable, "-m", "retinai.cli", *words], check=False)
    if done.returncode:
        sys.exit(done.returncode)


def readme_table(trained: Mapping[str, Any], untrained: Mapping[str, Any]) -> str:
    """Return the table of the README.

    Args:
        trained: `benchmark.json` of the trained EfficientNet-Lite0.
        untrained: `benchmark.json` of the untrained EfficientNet-B2.
    """
    lines = ["| times faster than ResNet-101 by | network | engine | precision | all three | goal |", "|---" * 6 + "|"]
    for name, result in (("EfficientNet-Lite0", trained), ("EfficientNet-B2, untrained", untrained)):
        details = result["student_vs_resnet101_details"]
        if details is None or details["factors"]["network_last"] is None:
            sys.exit(f"error: the factors of {name} were not measured: see benchmark.md")
        factors = [_number(details["factors"]["network_last"][key]) for key in ("network", "engine", "precision")]
        row = f"{name}, {details['factors']['together']}"
        lines.append(f"| {row} | {' | '.join(factors)} | {_number(details)} | >= 18 |")
    lines += ["", "| EfficientNet-Lite0 | measured | goal |", "|---|---|---|"]
    for goal in trained["goals"][1:]:
        measured = "not measured" if goal["measured"] is None else f"{goal['measured']:z.2g}"
        lines.append(f"| {goal['goal']} | {measured} | {'<=' if goal['at_most'] else '>='} {goal['target']:g} |")
    return "\n".join(lines) + "\n"


def _number(factor: Mapping[str, Any]) -> str:
    return f"{factor['median']:.2g}" if factor["median"] < 100 else f"{factor['median']:.0f}"


def put(page: Path, name: str, text: str) -> None:
    """Replace what stands in a page between the marks `<!-- measured: NAME -->` and `<!-- end: NAME -->`."""
    from retinai.files import write_text

    begin, end = f"<!-- measured: {name} -->", f"<!-- end: {name} -->"
    old = page.read_text(encoding="utf-8")
    new, count = re.subn(
        f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: f"{begin}\n{text.strip()}\n{end}", old, flags=re.DOTALL
    )
    if count != 1:
        sys.exit(f"error: {page} must hold {begin} and {end} once")
    write_text(page, new)


if __name__ == "__main__":
    main()
