from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_llava import SETTINGS, tiny_network

from retinai.data.photographs.normalise import normalise
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.errors import ConfigError, UserError
from retinai.llava import loading
from retinai.llava.adapters import LlavaTuning, read_tuning
from retinai.llava.encoding import IGNORED, Conversations
from retinai.llava.likelihood import score_candidates
from retinai.llava.loading import load_llava
from retinai.llava.network import LlavaNetwork
from retinai.llava.processor import check_processor, tokens_of_tower

QUESTION = "Which grade does this fundus photograph have, and why?"
ANSWERS = ["Grade 2 (moderate). No soft exudates.", "Grade 0 (no DR)."]
GRADES = [f"Grade {grade} ({name})." for grade, name in enumerate(["no DR", "mild", "moderate", "severe", "worst"])]


@pytest.fixture(scope="module")
def network() -> LlavaNetwork:
    return tiny_network()


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randn(2, 3, 168, 168, generator=torch.Generator().manual_seed(1))


def test_labels_cover_the_answer_and_its_end_only(network: LlavaNetwork) -> None:
    encoded = network.conversations.encode([(QUESTION, answer) for answer in ANSWERS])
    tokenizer, image = network.processor.tokenizer, network.processor.image_token_id
    for row, answer in enumerate(ANSWERS):
        ids, labels, mask = encoded.input_ids[row], encoded.labels[row], encoded.attention_mask[row]
        learnt = labels != IGNORED
        begin, end = learnt.nonzero()[0, 0].item(), learnt.nonzero()[-1, 0].item()
        assert learnt[begin : end + 1].all()  # one piece
        assert (labels[learnt] == ids[learnt]).all()
        assert tokenizer.decode(ids[learnt]).strip() == f"{answer}{tokenizer.eos_token}"
        assert ids[end] == tokenizer.eos_token_id
        before = tokenizer.decode(ids[:begin])
        assert before.endswith("ASSISTANT:") and QUESTION in before
        assert (ids[:begin] == image).sum() == 144 and not learnt[ids == image].any()
        assert not learnt[end + 1 :].any() and (mask[end + 1 :] == 0).all() and (mask[: end + 1] == 1).all()
        assert (ids[end + 1 :] == tokenizer.pad_token_id).all()


def test_tokens_are_those_of_the_processor_and_fit_the_vision_tower(network: LlavaNetwork) -> None:
    config = network.model.config
    text = network.conversations.prompt_text(QUESTION)
    photograph = Image.fromarray(np.random.default_rng(0).integers(0, 256, (168, 168, 3), dtype=np.uint8))
    theirs = network.processor(images=photograph, text=text, return_tensors="pt")
    assert theirs["input_ids"][0].tolist() == network.conversations.prompt(QUESTION)
    with torch.no_grad():
        tower = network.model.model.get_image_features
        features = tower(theirs["pixel_values"], -2, vision_feature_select_strategy="default").pooler_output
    count = (theirs["input_ids"] == network.processor.image_token_id).sum().item()
    assert count == len(features[0]) == tokens_of_tower(config) == 144


def test_our_pixels_are_those_of_the_image_processor(network: LlavaNetwork) -> None:
    photograph = np.random.default_rng(0).integers(0, 256, (168, 168, 3), dtype=np.uint8)
    theirs = network.processor.image_processor(images=Image.fromarray(photograph), return_tensors="pt")["pixel_values"]
    preprocessing = Preprocessing(input_size=168, mean=SETTINGS.mean, std=SETTINGS.std)
    ours = torch.from_numpy(normalise(photograph[None], preprocessing))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_a_batch_has_the_losses_of_its_answers_alone(network: LlavaNetwork, images: torch.Tensor) -> None:
    turns = [(QUESTION, answer) for answer in ANSWERS]
    with torch.no_grad():
        together = network(turns, images)
        alone = torch.cat([network(turns[k : k + 1], images[k : k + 1]) for k in range(2)])
    torch.testing.assert_close(together, alone, atol=2e-5, rtol=1e-5)


def test_the_loss_is_that_of_transformers(network: LlavaNetwork, images: torch.Tensor) -> None:
    encoded = network.conversations.encode([(QUESTION, ANSWERS[0])])
    with torch.no_grad():
        ours = network([(QUESTION, ANSWERS[0])], images[:1])
        theirs = network.model(input_ids=encoded.input_ids, attention_mask=encoded.attention_mask,
                               pixel_values=images[:1], labels=encoded.labels).loss  # fmt: skip
    torch.testing.assert_close(ours[0], theirs, atol=1e-5, rtol=1e-5)


def test_scores_are_the_likelihoods_of_whole_passes(network: LlavaNetwork, images: torch.Tensor) -> None:
    """The cached pass over all candidates gives what one pass per candidate without any cache gives."""
    shared, own = network.conversations.continuations(QUESTION, GRADES)
    with torch.no_grad():
        scores = network.score(QUESTION, GRADES, images)
        for grade, tokens in enumerate(own):
            ids = torch.tensor([shared + tokens] * 2)
            logs = network.model(input_ids=ids, pixel_values=images).logits.float().log_softmax(dim=-1)
            places = range(len(shared) - 1, len(shared) - 1 + len(tokens))
            whole = sum(logs[:, place, token] for place, token in zip(places, tokens, strict=True))
            torch.testing.assert_close(scores[:, grade], whole, atol=1e-4, rtol=1e-5)


def test_candidates_of_one_token_need_no_second_pass(network: LlavaNetwork, images: torch.Tensor) -> None:
    shared, own = network.conversations.continuations(QUESTION, GRADES)
    with torch.no_grad():
        short = score_candidates(network.model, shared, [tokens[:1] for tokens in own], images, network.pad)
        logits = network.model(input_ids=torch.tensor([shared] * 2), pixel_values=images).logits[:, -1].log_softmax(-1)
    torch.testing.assert_close(short, logits[:, [tokens[0] for tokens in own]], atol=1e-4, rtol=1e-5)


def test_generation_is_greedy_with_and_without_padding(network: LlavaNetwork, images: torch.Tensor) -> None:
    begun = ["Grade 2", "Grade 0 (no DR). No"]
    together = network.write(QUESTION, begun, images, longest=4)
    alone = [network.write(QUESTION, begun[k : k + 1], images[k : k + 1], longest=4)[0] for k in range(2)]
    assert together == alone and all(text.startswith(words) for text, words in zip(together, begun, strict=True))
    ids = torch.tensor([network.conversations.prompt(QUESTION, begun[0])])
    with torch.no_grad():
        first = network.model(input_ids=ids, pixel_values=images[:1]).logits[0, -1].argmax()
    assert together[0] == f"{begun[0]} {network.conversations.decode([int(first)])}".strip() or together[0].startswith(
        f"{begun[0]} {network.conversations.decode([int(first)])}".strip()
    )


def test_the_tokenizer_reads_back_what_it_writes(network: LlavaNetwork) -> None:
    tokenizer = network.processor.tokenizer
    for text in [*ANSWERS, *GRADES, "12 microaneurysms, 0.31 % of the field.", "Zoë's naïve 眼 photograph"]:
        assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True).strip() == text
    digits = tokenizer.tokenize("Grade 23")
    assert digits[-2:] == ["2", "3"]


def test_answers_and_prompts_beyond_the_context_are_refused(network: LlavaNetwork) -> None:
    with pytest.raises(UserError, match=r"the context of the language model holds 1024"):
        network.conversations.encode([(QUESTION, "microaneurysms, " * 600)])
    with pytest.raises(UserError, match="the prompt has"):
        network.conversations.prompt("why " * 2000)


def test_candidates_that_begin_alike_are_refused(network: LlavaNetwork) -> None:
    with pytest.raises(UserError, match="cannot be told apart"):
        network.conversations.continuations(QUESTION, ["Grade 1", "Grade 1"])
    with pytest.raises(UserError, match="cannot be told apart"):
        network.conversations.continuations(QUESTION, ["Grade 1", "Grade 1 2"])


def test_qlora_quantises_and_adapts_the_language_model_only() -> None:
    import bitsandbytes as bnb

    network = tiny_network("qlora", dtype="bfloat16")
    layers = {name: m for name, m in network.named_modules() if isinstance(m, bnb.nn.Linear4bit)}
    assert len(layers) == 4 * 7 and all("language_model" in name for name in layers)
    state = next(iter(layers.values())).weight.quant_state
    assert state.quant_type == "nf4" and state.nested and next(iter(layers.values())).compute_dtype == torch.bfloat16
    trained = [name for name, p in network.named_parameters() if p.requires_grad]
    assert all("lora_" in n and "language_model" in n for n in trained if "multi_modal_projector" not in n)
    assert sum("lora_A" in n for n in trained) == 4 * 7 and any("multi_modal_projector" in n for n in trained)
    assert all(p.dtype == torch.float32 for p in network.parameters() if p.requires_grad)


def test_the_state_holds_what_trains_and_loads_strictly() -> None:
    network, other = tiny_network("qlora", dtype="bfloat16"), tiny_network("qlora", dtype="bfloat16")
    state = network.state_dict()
    assert set(state) == {name for name, p in network.named_parameters() if p.requires_grad}
    changed = {key: torch.full_like(value, 0.5) for key, value in state.items()}
    assert other.load_state_dict(changed) and all((v == 0.5).all() for v in other.state_dict().values())
    missing = dict(list(state.items())[1:])
    with pytest.raises(RuntimeError, match="Missing key"):
        other.load_state_dict(missing)


@pytest.mark.parametrize("tuning", ["lora", "qlora", "full"])
def test_gradients_reach_all_that_trains_and_nothing_else(tuning: str, images: torch.Tensor) -> None:
    network = tiny_network(tuning, dtype="bfloat16" if tuning == "qlora" else "float32").train()
    network([(QUESTION, answer) for answer in ANSWERS], images).mean().backward()
    for name, parameter in network.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
        assert "vision_tower" not in name or not parameter.requires_grad


def test_checkpointing_of_activations_changes_no_gradient(images: torch.Tensor) -> None:
    gradients = []
    for checkpointing in (False, True):
        torch.manual_seed(0)  # the adapters' first weights
        network = LlavaNetwork(SETTINGS, LlavaTuning(name="lora", dropout=0.0), gradient_checkpointing=checkpointing)
        network.train()([(QUESTION, ANSWERS[0])], images[:1]).mean().backward()
        gradients.append([p.grad for p in network.parameters() if p.requires_grad])
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, checkpointed, atol=1e-6, rtol=1e-5)


def test_the_projector_can_stay_as_it_is() -> None:
    network = LlavaNetwork(SETTINGS, LlavaTuning(name="lora", projector=False), gradient_checkpointing=False)
    assert set(network.trained_groups()) == {"language"}


def test_a_processor_that_does_not_fit_is_refused_with_both_numbers(network: LlavaNetwork) -> None:
    processor, config = network.processor, network.model.config
    before = processor.patch_size, processor.image_token_id
    try:
        processor.patch_size, processor.image_token_id = 12, 7
        with pytest.raises(ConfigError) as caught:
            check_processor(processor, config, SETTINGS)
    finally:
        processor.patch_size, processor.image_token_id = before
    text = str(caught.value)
    assert "patch size 12, the network has 14" in text
    assert f"image token id 7, the network has {config.image_token_id}" in text
    assert "tokens per image 196, the network has 144" in text
    with pytest.raises(ConfigError, match=r"input_size=336.*168"):
        check_processor(processor, config, replace(SETTINGS, input_size=336))
    with pytest.raises(ConfigError, match=r"backbone.mean=\[0.5"):
        check_processor(processor, config, replace(SETTINGS, mean=(0.5, 0.5, 0.5)))


def test_a_large_network_asks_for_a_gpu_before_it_is_read(tmp_path) -> None:
    if torch.cuda.is_available():
        pytest.skip("a GPU is here")
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig

    LlavaConfig(vision_config=CLIPVisionConfig(), text_config=LlamaConfig()).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"billion parameters and needs a CUDA GPU.*llava_tiny"):
        load_llava(replace(SETTINGS, name="llava_1_5_7b", weights=str(tmp_path)), four_bits=True)


def test_a_folder_without_a_network_is_told(tmp_path) -> None:
    with pytest.raises(UserError, match=r"the configuration of backbone\.weights="):
        load_llava(replace(SETTINGS, weights=str(tmp_path)), four_bits=False)


def test_a_missing_package_names_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "peft" else found(name, *a))
    with pytest.raises(UserError, match=r'peft is not installed; mend with: pip install "retinai\[llava\]"'):
        loading.require_llava_packages()


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ({"name": "head"}, "does not suit model=llava"),
        ({"name": "lora", "rank": 0}, "rank=0"),
        ({"name": "lora", "dropout": 1.0}, "dropout=1.0"),
    ],
)
def test_tunings_that_make_no_sense_are_refused(section: dict, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        read_tuning(section)


def test_targets_that_match_no_layer_are_refused() -> None:
    with pytest.raises(ConfigError, match="matches no layer"):
        LlavaNetwork(SETTINGS, LlavaTuning(name="lora", targets="nothing"), gradient_checkpointing=False)


def test_a_conversation_is_written_as_the_chat_template_writes_it(network: LlavaNetwork) -> None:
    turn = [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": QUESTION}]},
        {"role": "assistant", "content": [{"type": "text", "text": ANSWERS[0]}]},
    ]
    theirs = network.processor.apply_chat_template(turn).strip()
    conversations: Conversations = network.conversations
    assert theirs == f"{conversations.prompt_text(QUESTION)} {ANSWERS[0]}"
