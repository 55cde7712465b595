"""A LLaVA that is put together of a language model and an encoder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_llava import SETTINGS, small_network, write_language

from retinai.errors import ConfigError, UserError
from retinai.llava.language import check_gguf, read_language
from retinai.llava.network import LlavaNetwork
from retinai.llava.tower import build_tower

QUESTION = "Which grade does this fundus photograph have, and why?"
GRADES = [f"Grade {grade} ({name})." for grade, name in enumerate(["no DR", "mild", "moderate", "severe", "worst"])]


@pytest.fixture(scope="module")
def language(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_language(tmp_path_factory.mktemp("language"))


@pytest.fixture(scope="module")
def network(language: Path) -> LlavaNetwork:
    return small_network(language)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_tokens_are_the_cells_of_the_encoders_map(images: torch.Tensor) -> None:
    tower = build_tower(SETTINGS)
    cells = tower.encoder.feature_map(images)
    (tokens,) = tower(images).hidden_states
    assert tokens.shape == (2, 4, 1280)
    by_hand = cells.permute(0, 2, 3, 1).reshape(2, 4, 1280).numpy()
    by_hand = (by_hand - by_hand.mean(-1, keepdims=True)) / np.sqrt(by_hand.var(-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(tokens.numpy(), by_hand, atol=1e-4)


def test_fewer_tokens_are_means_of_cells(images: torch.Tensor) -> None:
    tower = build_tower(replace(SETTINGS, image_tokens=1))
    mean = tower.encoder.feature_map(images).mean(dim=(2, 3))
    expected = torch.nn.functional.layer_norm(mean, mean.shape[-1:])
    torch.testing.assert_close(tower(images).hidden_states[0][:, 0], expected)


def test_scores_are_the_likelihoods_of_whole_passes(network: LlavaNetwork, images: torch.Tensor) -> None:
    shared, own = network.conversations.continuations(QUESTION, GRADES)
    assert shared.count(network.processor.image_token_id) == 4
    with torch.no_grad():
        scores = network.score(QUESTION, GRADES, images)
        for grade, tokens in enumerate(own):
            ids = torch.tensor([shared + tokens] * 2)
            logs = network.model(input_ids=ids, pixel_values=images).logits.float().log_softmax(dim=-1)
            places = range(len(shared) - 1, len(shared) - 1 + len(tokens))
            whole = sum(logs[:, place, token] for place, token in zip(places, tokens, strict=True))
            torch.testing.assert_close(scores[:, grade], whole, atol=1e-4, rtol=1e-5)


def test_kept_tokens_give_what_photographs_give(network: LlavaNetwork, images: torch.Tensor) -> None:
    kept, turns = network.look(images), [(QUESTION, GRADES[1]), (QUESTION, GRADES[4])]
    with torch.no_grad():
        torch.testing.assert_close(network(turns, kept), network(turns, images))
        torch.testing.assert_close(network.score(QUESTION, GRADES, kept), network.score(QUESTION, GRADES, images))
    begun = ["Grade 2", ""]
    assert network.write(QUESTION, begun, kept, 5) == network.write(QUESTION, begun, images, 5)


@pytest.mark.parametrize("tuning", ["lora", "qlora", "projector"])
def test_what_trains_gets_gradients_and_nothing_else(language: Path, images: torch.Tensor, tuning: str) -> None:
    network = small_network(language, tuning)
    network([(QUESTION, GRADES[0]), (QUESTION, GRADES[3])], images).mean().backward()
    with_gradient = {name for name, p in network.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert any("multi_modal_projector" in name for name in with_gradient)
    assert not any("vision_tower" in name for name in with_gradient)
    assert any("lora_B" in name for name in with_gradient) == (tuning != "projector")
    assert set(network.state_dict()) == {name for name, p in network.named_parameters() if p.requires_grad}


def test_another_tower_or_language_model_is_another_network(network: LlavaNetwork, tmp_path: Path) -> None:
    other = small_network(write_language(tmp_path, seed=1))
    assert other.backbone.fingerprint != network.backbone.fingerprint and other.vision_key == network.vision_key
    lite1 = small_network(Path(str(network.settings.language)), vision="efficientnet_lite1")
    assert lite1.backbone.fingerprint != network.backbone.fingerprint and lite1.vision_key != network.vision_key


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"image_tokens": 5}, "image_tokens=5 must be a square number"),
        ({"image_tokens": 9}, "is more than the 4 cells"),
        ({"vision": None}, "backbone.vision is missing"),
        ({"vision": "resnet999"}, "is no encoder of conf/backbone and no checkpoint"),
        ({"vision": "llava_tiny"}, "is no encoder of conf/backbone and no checkpoint"),
        ({"vision": "runs/best.ckpt"}, r"the vision tower backbone\.vision=runs/best\.ckpt is not there"),
        ({"mean": (0.4, 0.5, 0.5)}, r"was trained with \[0\.5, 0\.5, 0\.5\]"),
        ({"weights": "tiny", "vision": None, "image_tokens": None}, "backbone.language means nothing"),
    ],
)
def test_a_tower_that_does_not_suit_is_one_sentence(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        build_tower(replace(SETTINGS, **changes))


def _gguf(path: Path, architecture: str) -> Path:
    import gguf

    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(1)
    writer.add_tensor("token_embd.weight", np.zeros((32, 8), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_gguf_of_another_architecture_is_refused(tmp_path: Path) -> None:
    file = _gguf(tmp_path / "qwen.gguf", "qwen2")
    with pytest.raises(UserError, match=r"qwen\.gguf is of architecture 'qwen2'.*'llama'"):
        read_language(replace(SETTINGS, language=str(file)))
    with pytest.raises(UserError, match=r"backbone\.language=.*gone\.gguf is not there"):
        read_language(replace(SETTINGS, language=str(tmp_path / "gone.gguf")))
    with pytest.raises(UserError, match=r"backbone\.language=/nowhere is no folder; give a GGUF file"):
        read_language(replace(SETTINGS, language="/nowhere"))


@pytest.mark.parametrize("size", [0, 3, 40, 150])
def test_a_damaged_gguf_is_refused(tmp_path: Path, size: int) -> None:
    whole = _gguf(tmp_path / "whole.gguf", "llama").read_bytes()
    file = tmp_path / "part.gguf"
    file.write_bytes(whole[:size])
    with pytest.raises(UserError, match=r"part\.gguf is no whole GGUF file"):
        check_gguf(file)
    file.write_bytes(b"no GGUF at all, but long enough for a header" * 3)
    with pytest.raises(UserError, match="is no whole GGUF file"):
        check_gguf(file)


def test_a_language_model_of_another_class_is_refused(tmp_path: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = write_language(tmp_path)
    GPT2LMHeadModel(GPT2Config(n_embd=8, n_layer=1, n_head=1, vocab_size=32)).save_pretrained(folder)
    with pytest.raises(UserError, match="is of architecture 'gpt2'"):
        read_language(replace(SETTINGS, language=str(folder)))


def test_parts_and_projector_settings_that_make_no_sense(language: Path) -> None:
    from retinai.llava.adapters import LlavaTuning

    with pytest.raises(ConfigError, match="leaves nothing to train"):
        LlavaTuning(name="projector", projector=False)
