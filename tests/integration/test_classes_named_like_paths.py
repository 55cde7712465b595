"""Classes of one's own data that are called like a path or a formula: their photographs stay in their folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from small_network import SMALL_NETWORK

Command = Callable[..., int]
CLASSES = ("../c", "=1+1")


@pytest.fixture(scope="module")
def words(synthetic_aptos: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    place = tmp_path_factory.mktemp("own")
    owner = pd.read_csv(synthetic_aptos / "train.csv")
    names = [f"train_images/{name}.png" for name in owner["id_code"]]
    pd.DataFrame({"path": names, "target": [CLASSES[grade > 0] for grade in owner["diagnosis"]]}).to_csv(
        place / "table.csv", index=False
    )
    return [
        "data=table", f"data.file={place / 'table.csv'}", f"data.root={synthetic_aptos}", "data.num_workers=0",
        *SMALL_NETWORK, "backbone.input_size=32", "trainer=cpu", "trainer.max_epochs=1", "logger=none", "test=false",
        f"paths.cache={place / 'cache'}",
    ]  # fmt: skip


def test_a_generator_of_them(words: list[str], command: Command, tmp_path: Path) -> None:
    run, made = tmp_path / "run", tmp_path / "made"
    assert command("train", "model=vae", "model.widths=[4,8]", "model.latent=4", *words, f"run_dir={run}") == 0
    for number, name in enumerate(CLASSES):
        out = made / str(number)
        checkpoint = run / "checkpoints" / "best.ckpt"
        assert command("synthesize", f"from={checkpoint}", f"class='{name}'", "n=2", f"out={out}") == 0
        assert sorted(path.suffix for path in out.iterdir()) == [".csv", ".json", ".png", ".png"]
    assert sorted(path.name for path in made.iterdir()) == ["0", "1"]
    both = f"data.extra_train=[{made / '0'},{made / '1'}]"
    assert command("train", *words, both, "calibrate=false", f"run_dir={tmp_path / 'grader'}") == 0
    split = pd.read_csv(tmp_path / "grader" / "split.csv", dtype=str)
    assert split["source"].str.startswith("vae:", na=False).sum() == 4
