"""The benchmark of LLaVA runs, compares what it says, and builds a given shape shard by shard."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture()
def from_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `benchmarks` be imported."""
    monkeypatch.syspath_prepend(str(_ROOT))


def test_a_quick_run_measures_both_ratios_and_says_what_it_did_not_measure(
    from_root: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("trl")
    import torch

    if torch.cuda.is_available():
        pytest.skip("writes 14 GB for the 7B rows where there is a GPU")
    from benchmarks import llava

    threads = torch.get_num_threads()
    monkeypatch.setattr(sys, "argv", ["llava.py", "quick=true", f"out={tmp_path}"])
    try:
        llava.main()
    finally:
        torch.set_num_threads(threads)
    rows = json.loads((tmp_path / "llava.json").read_text())["results"]
    grading, training, *large = rows
    assert grading["ratio"] > 1, "scoring reads the prompt once, as writing does, then needs one pass, not 64"
    assert grading["details"]["tokens_written"] == 64
    assert training["ratio"] > 0 and training["details"]["trained"] > 100_000
    assert set(training["seconds"]) == {"retinai", "trl"}
    assert len(large) == 5 and all(row["ratio"] is None and row["details"]["not_measured"] for row in large)
    assert capsys.readouterr().out.count("not measured") == 5


def test_a_shape_is_written_in_shards_and_loads_whole_in_four_bits(from_root: None, tmp_path: Path) -> None:
    import torch
    from benchmarks.llava_setup import published_config, write_shape
    from transformers import LlavaForConditionalGeneration

    from retinai.llava.loading import load_llava
    from retinai.llava.settings import LlavaSettings

    config = published_config()
    config.vision_config.update({"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3, "image_size": 56})
    config.text_config.update(
        {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 4, "head_dim": 32}
    )  # fmt: skip
    folder = write_shape(tmp_path / "shape", config, shard=4 << 20)
    assert len(list(folder.glob("model-*.safetensors"))) > 3
    _, info = LlavaForConditionalGeneration.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]

    clip = {"mean": (0.48145466, 0.4578275, 0.40821073), "std": (0.26862954, 0.26130258, 0.27577711)}
    loaded = load_llava(LlavaSettings("llava_1_5_7b", str(folder), 56, **clip), four_bits=True)
    assert loaded.model.model.language_model.layers[1].mlp.up_proj.weight.dtype == torch.uint8
    assert loaded.model.lm_head.weight.shape == (32064, 128)


def test_the_published_configuration_has_seven_billion_parameters(from_root: None) -> None:
    import torch
    from benchmarks.llava_setup import published_config
    from transformers import LlavaForConditionalGeneration

    with torch.device("meta"):
        model = LlavaForConditionalGeneration(published_config())
    # llava-hf/llava-1.5-7b-hf: 7,063,427,072 parameters by its safetensors index.
    assert sum(p.numel() for p in model.parameters()) == 7_063_427_072


def test_faults_of_its_options_are_told(from_root: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import llava

    for word, told in (("shape=13b", "valid: auto, tiny, 7b"), ("colour=red", "unknown option")):
        monkeypatch.setattr(sys, "argv", ["llava.py", word])
        with pytest.raises(SystemExit) as left:
            llava.main()
        assert told in str(left.value.code)
