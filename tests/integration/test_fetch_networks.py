"""Networks in the format of transformers from a hub: whole, in two pieces, damaged, and then used without a network."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from served_hub import served_hub, use_hub
from tiny_llava import SETTINGS

Command = Callable[..., int]
NAME = "somebody/llava-tiny-hf"
FETCH = ["backbone=llava_1_5_7b", f"backbone.weights={NAME}"]
QUICK = ["model=llava", "tuning=lora", "trainer=cpu", "logger=none", "data.limit=5", "data.num_workers=0",
         "data.batch_size=5", "trainer.max_epochs=1", "trainer.accumulate_grad_batches=1", "calibrate=false",
         "test=false", "model.gradient_checkpointing=false", "tuning.rank=4", "backbone.input_size=168",
         "backbone.billions=null", "backbone.dtype=float32"]  # fmt: skip


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny LLaVA with tokenizer and processor, beside files that nobody needs for it."""
    from retinai.llava.tiny import write_tiny_llava

    folder = Path(write_tiny_llava(tmp_path_factory.mktemp("published") / "network"))
    (folder / "pytorch_model.bin").write_bytes(b"the same weights in another format")
    (folder / "README.md").write_text("words")
    return folder


@pytest.fixture
def hub(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with served_hub({NAME: published}) as server:
        use_hub(monkeypatch, server.address, tmp_path / "cache")
        yield server


def hidden(hub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the network away."""
    from huggingface_hub import constants

    hub.shutdown()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def hashes(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir() if file.is_file()}


def test_a_folder_goes_on_after_a_stop_and_is_checked_without_a_network(
    hub: Any, published: Path, tmp_path: Path, command: Command, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    words, folder = ["fetch", *FETCH, f"out={tmp_path / 'out'}"], tmp_path / "out" / "llava-tiny-hf"
    hub.most = 1_000_000
    assert command(*words) == 2
    assert f"model.safetensors of {NAME} cannot be reached" in (said := capsys.readouterr().err)
    assert "run the command again to go on" in said
    assert (folder / "model.safetensors.partial").stat().st_size == hub.most
    hub.most = 2**40
    assert command(*words) == 0
    assert f"backbone.weights={folder}" in capsys.readouterr().out
    assert hub.starts == [0] and "Bearer hf_secret" in hub.tokens and None in hub.tokens  # no token for other addresses

    expected = {k: v for k, v in hashes(published).items() if k not in ("pytorch_model.bin", "README.md")}
    assert {k: v for k, v in hashes(folder).items() if k != "SHA256SUMS"} == expected
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=folder, check=True, capture_output=True)
    hidden(hub, monkeypatch)
    assert command(*words) == 0 and "the hub was not asked" in capsys.readouterr().out
    (folder / "tokenizer.json").write_text("{}")
    assert command(*words) == 2 and "cannot be had" in capsys.readouterr().err


def test_a_training_without_a_network_finds_what_was_fetched(
    hub: Any, synthetic_idrid: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    from retinai.llava.loading import load_llava

    assert command("fetch", *FETCH, f"out={tmp_path / 'out'}") == 0
    assert command("fetch", *FETCH, "out=HF_HOME") == 0
    hidden(hub, monkeypatch)
    places = [f"paths.outputs={tmp_path}", f"paths.cache={tmp_path / 'cache'}", f"run_dir={tmp_path / 'run'}"]
    data = ["data=idrid", f"data.root={synthetic_idrid}"]
    assert command("train", *FETCH, *QUICK, *data, *places) == 0  # by its name, out of the cache
    loaded = [
        load_llava(replace(SETTINGS, weights=weights, billions=None), four_bits=False)
        for weights in (NAME, str(tmp_path / "out" / "llava-tiny-hf"))
    ]
    assert loaded[0].fingerprint == loaded[1].fingerprint
    assert [one.processor.tokenizer("a mild retinopathy")["input_ids"] for one in loaded[:1]] == [
        one.processor.tokenizer("a mild retinopathy")["input_ids"] for one in loaded[1:]
    ]


def test_one_file_of_timm_in_the_cache_is_pretrained(
    hub: Any, tmp_path: Path, command: Command, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import timm
    from safetensors.torch import save_file

    from retinai.encoders.pretrained import hub_file

    (tmp_path / "timm").mkdir()
    net = timm.create_model("vit_tiny_patch16_224", num_classes=0)
    save_file(net.state_dict(), tmp_path / "timm" / "model.safetensors")
    hub.repositories[str(net.pretrained_cfg["hf_hub_id"])] = tmp_path / "timm"
    words = ["backbone=vit_tiny"]
    for out in ("HF_HOME", tmp_path / "out"):
        assert command("fetch", *words, f"out={out}") == 0
    said = capsys.readouterr().out
    assert "where HF_HOME is the same" in said and f"backbone.weights={tmp_path}/out/vit_tiny/model.safetensors" in said
    hidden(hub, monkeypatch)
    assert hub_file(net, "vit_tiny").stat().st_size > 0


def test_content_of_another_hash_is_kept_aside(hub: Any, tmp_path: Path, command: Command, capsys: Any) -> None:
    hub.change = lambda content: content.replace(b"LlavaProcessor", b"LlavaPr0cessor")
    assert command("fetch", *FETCH, f"out={tmp_path / 'out'}") == 2
    said = capsys.readouterr().err
    assert "is not what the hub states" in said and "Traceback" not in said
    (wrong,) = (tmp_path / "out").rglob("*.wrong")
    assert not wrong.with_suffix("").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["backbone=llava_1_5_7b", "backbone.weights=somebody/nothing"], "somebody/nothing cannot be had"),
        (["backbone=llava_1_5_7b", "backbone.weights=weights"], "is no name of the hub"),
        (["backbone=llava_small"], "comes from the hub: its language model is backbone.language=smollm2"),
        (["backbone=llava_small", "backbone.language=somebody/nothing"], "somebody/nothing cannot be had"),
        (["backbone=llava_tiny"], "nothing of backbone llava_tiny comes from the hub: it is built on the spot"),
        (["backbone=retfound_green", "out=HF_HOME"], "are not on the hub"),
        ([*FETCH, "backbone.revision=main", "offline"], "llava-tiny-hf cannot be had"),
    ],
)
def test_what_cannot_be_fetched_is_one_sentence(
    words: list[str], told: str, hub: Any, tmp_path: Path, command: Command, capsys: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    if "offline" in words:
        hidden(hub, monkeypatch)
    given = [f"out={tmp_path / 'out'}", *(word for word in words if word != "offline")]
    given = given[1:] if "out=HF_HOME" in given else given
    assert command("fetch", *given) == 2
    said = capsys.readouterr().err
    assert told in said and "Traceback" not in said and not (tmp_path / "out").exists(), said
