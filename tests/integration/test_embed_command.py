"""`retinai embed`: the numbers are the encoder's, a killed command goes on, and faults are one sentence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch

from retinai.data.photographs.images import read_photograph
from retinai.data.photographs.normalise import normalise
from retinai.data.photographs.prepared_pixels import prepare_photograph
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.embeddings.files import read_embeddings
from retinai.embeddings.steps import Embed
from retinai.modules.load import load_module

Command = Callable[..., int]
BACKBONE = ["backbone=resnet18", "backbone.input_size=32"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights of a timm network as a file."""
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(timm.create_model("resnet18", num_classes=0).state_dict(), file)
    return file


@pytest.fixture
def words(weights: Path, synthetic_aptos: Path, tmp_path: Path) -> list[str]:
    """What embeds the tiny cohort, without the file to write."""
    data = ["data=aptos", f"data.root={synthetic_aptos}", f"paths.cache={tmp_path / 'cache'}"]
    return [
        "embed",
        *BACKBONE,
        f"backbone.weights={weights}",
        *data,
        "num_workers=0",
        "batch_size=16",
        "accelerator=cpu",
    ]


def test_numbers_are_the_networks_and_ids_the_tables(
    words: list[str], weights: Path, synthetic_aptos: Path, tmp_path: Path, command: Command
) -> None:
    assert command(*words, f"out={tmp_path / 'e.npz'}", "dtype=float32", "neighbours=2") == 0
    assert (tmp_path / "e_neighbours.png").stat().st_size > 10_000
    found = read_embeddings(tmp_path / "e.npz")
    assert found.vectors.shape == (len(list(synthetic_aptos.glob("*_images/*.png"))), 512)
    net = timm.create_model("resnet18", num_classes=0).eval()
    net.load_state_dict(torch.load(weights))
    preprocessing = Preprocessing.from_dict(found.info["preprocessing"])
    rows = [0, 17, len(found.ids) - 1]
    images = np.stack([prepare_photograph(read_photograph(found.paths[row]), preprocessing) for row in rows])
    with torch.no_grad():
        expected = net(torch.from_numpy(normalise(images, preprocessing)))
    np.testing.assert_allclose(found.vectors[rows], expected, rtol=1e-4, atol=1e-5)
    assert [Path(path).stem for path in found.paths] == found.ids
    info = found.info
    assert info["bytes_per_photograph"] == 4 * 512 and info["ms_per_photograph"] > 0 and not info["unreadable"]
    with np.load(tmp_path / "e.npz") as plain:  # as any other tool reads it
        assert plain["embedding"].dtype == np.float32 and plain["id"].tolist() == found.ids
    assert not (tmp_path / "e.npz.partial").exists()


@pytest.mark.parametrize("suffix", ["npz", "parquet"])
def test_half_precision_in_either_kind_of_file(suffix: str, words: list[str], tmp_path: Path, command: Command) -> None:
    out = tmp_path / f"half.{suffix}"
    assert command(*words, f"out={out}") == 0 and command(*words, f"out={tmp_path / 'f.npz'}", "dtype=float32") == 0
    half, full = read_embeddings(out), read_embeddings(tmp_path / "f.npz")
    np.testing.assert_array_equal(half.vectors, full.vectors.astype(np.float16).astype(np.float32))
    assert half.ids == full.ids and half.hashes == full.hashes and half.info["bytes_per_photograph"] == 1024


def test_a_killed_command_goes_on(
    words: list[str], tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    assert command(*words, f"out={tmp_path / 'whole.npz'}") == 0
    ran: list[int] = []
    run = Embed.run

    def counted(self: Embed, module: Any, batch: Any, found: Any) -> dict[str, Any]:
        ran.append(len(batch["id"]))
        if len(ran) == 3:
            raise KeyboardInterrupt
        return run(self, module, batch, found)

    monkeypatch.setattr(Embed, "run", counted)
    with pytest.raises(KeyboardInterrupt):
        command(*words, f"out={tmp_path / 'e.npz'}")
    rows = tmp_path / "e.npz.partial" / "rows.jsonl"
    assert len(rows.read_text().splitlines()) == 32 and not (tmp_path / "e.npz").exists()
    with rows.open("a") as lines:
        lines.write('{"row": 32, "sha2')  # the line at which it was killed
    assert command(*words, f"out={tmp_path / 'e.npz'}") == 0
    assert "going on from e.npz.partial: 32 of" in capsys.readouterr().err
    whole, resumed = (read_embeddings(tmp_path / name) for name in ("whole.npz", "e.npz"))
    np.testing.assert_array_equal(whole.vectors, resumed.vectors)
    assert whole.ids == resumed.ids and sum(ran[3:]) == len(whole.ids) - 32


def test_other_settings_begin_anew(
    words: list[str], tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Embed, "run", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        command(*words, f"out={tmp_path / 'e.npz'}")
    assert command(*words, f"out={tmp_path / 'e.npz'}", "pooling=avg", "dtype=float32") == 0
    assert "begun anew" in capsys.readouterr().err


def test_a_checkpoints_own_encoder_and_files_that_cannot_be_read(
    tiny_checkpoint: Path, synthetic_aptos: Path, tmp_path: Path, command: Command, capsys: Any
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for file in sorted((synthetic_aptos / "train_images").iterdir())[:4]:
        shutil.copy(file, photos)
    (photos / "a_text.png").write_text("no photograph")
    out, places = tmp_path / "own.npz", [f"paths.cache={tmp_path / 'cache'}", "num_workers=0", "accelerator=cpu"]
    assert command("embed", f"ckpt={tiny_checkpoint}", f"images={photos}", f"out={out}", "dtype=float32", *places) == 0
    found, module = read_embeddings(out), load_module(tiny_checkpoint)
    assert list(found.info["unreadable"]) == ["a_text"] and len(found.ids) == 4 and "a_text" in capsys.readouterr().out
    images = [prepare_photograph(read_photograph(path), module.preprocessing) for path in found.paths]
    with torch.no_grad():
        batch = torch.from_numpy(normalise(np.stack(images), module.preprocessing))
        expected = module.network.encoder(batch)  # type: ignore[union-attr, operator]
    np.testing.assert_allclose(found.vectors, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["backbone=null"], "backbone=null is no option"),
        (["ckpt=x.ckpt"], "either backbone= (with backbone.weights=) or ckpt="),
        (["images=photos"], "either data= (a data set) or images="),
        (["out=e.txt"], "must be a .npz or a .parquet file"),
        (["pooling=token"], "pooling=token does not suit resnet18; it has: own, avg"),
        (["pooling=mean"], "own, avg, token, all"),
        (["dtype=int8"], "float16, float32"),
        (["neighbours=0"], "from 1 to 20"),
        (["data.root=/nowhere"], "/nowhere"),
        (["backbone.weights=/nowhere.pth"], "is no file"),
    ],
)
def test_faults_are_one_sentence(
    more: list[str], told: str, words: list[str], tmp_path: Path, command: Command, capsys: Any
) -> None:
    assert command(*words, f"out={tmp_path / 'e.npz'}", *more) == 2
    said = capsys.readouterr().err
    assert told in said and "Traceback" not in said, said
    assert not list(tmp_path.glob("e.npz*"))


def test_files_that_are_no_embeddings_are_refused(words: list[str], tmp_path: Path, command: Command) -> None:
    from retinai.errors import DataError

    out = tmp_path / "e.npz"
    assert command(*words, f"out={out}") == 0 and command(*words, f"out={out}") == 2  # it is there already
    content = out.read_bytes()
    cases: dict[str, bytes] = {"half": content[: len(content) // 2], "text": b"no array", "empty": b""}
    for name, wrong in cases.items():
        (tmp_path / f"{name}.npz").write_bytes(wrong)
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    np.savez(tmp_path / "pickled.npz", embedding=np.array([{}], dtype=object), id=["a"], path=["a"], sha256=["a"])
    twice = {"id": ["a", "a"], "path": ["a", "b"], "sha256": ["", ""], "info": json.dumps({})}
    np.savez(tmp_path / "twice.npz", embedding=np.zeros((2, 3)), **twice)
    for name in (*cases, "other", "pickled", "twice", "absent"):
        with pytest.raises(DataError, match=f"{name}.npz"):
            read_embeddings(tmp_path / f"{name}.npz")
