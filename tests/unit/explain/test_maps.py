"""Maps, against pytorch-grad-cam, identities that hold exactly, and networks whose answer is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from module_factory import make_classifier, section
from pytorch_grad_cam import GradCAM, GradCAMPlusPlus, HiResCAM, LayerCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

from retinai.errors import UserError
from retinai.explain.cam import weighted_sum
from retinai.explain.layers import find_layer, watch
from retinai.explain.methods import (
    Question,
    all_maps,
    attention_rollout,
    block_attention,
    cam,
    integrated_gradients,
    occlusion,
)
from retinai.explain.scores import scores, target_classes
from retinai.modules.classifier import Classifier
from retinai.tasks.known import DR_GRADE, ODIR_COURSE

SIZE = 64
THEIRS = {"gradcam": GradCAM, "gradcampp": GradCAMPlusPlus, "hirescam": HiResCAM, "layercam": LayerCAM}


def backbone(name: str, **changes: Any) -> dict[str, Any]:
    return section("backbone", name, weights="none", input_size=SIZE, **changes)


def classifier(name: str = "resnet18", loss: str = "cross_entropy", **changes: Any) -> Classifier:
    torch.manual_seed(3)
    arguments = changes.pop("arguments", None)
    more = {} if arguments is None else {"arguments": arguments}
    made = make_classifier(backbone=backbone(name, **more), loss=section("loss", loss), **changes).eval()
    with torch.no_grad():  # a fresh head is nearly even, and nothing could be told apart
        made.network.head.weight.mul_(30)
    return made


def ask(module: Classifier, layer: str = "last", count: int = 2, classes: Any = None) -> Question:
    images = torch.randn(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    chosen = torch.tensor([[k] for k in range(count)]) if classes is None else torch.as_tensor(classes)
    inside = torch.ones(count, SIZE, SIZE, dtype=torch.bool)
    return Question(module, (images,), chosen, inside, find_layer(module.network.encoder, layer))


def theirs(question: Question, name: str, reshape: Callable[[torch.Tensor], torch.Tensor] | None) -> np.ndarray:
    """Maps of pytorch-grad-cam, before its scaling of each to 0 and 1."""
    kind = THEIRS[name](model=question.module, target_layers=[question.layer], reshape_transform=reshape)
    kind.activations_and_grads.model = question.module
    targets = [ClassifierOutputTarget(int(k)) for k in question.classes[:, 0]]
    return np.asarray(kind(input_tensor=question.inputs[0], targets=targets))


def patches_of_a_vit(tokens: torch.Tensor) -> torch.Tensor:
    """16 patches after a class token and four registers, as a map."""
    return tokens[:, 5:].transpose(1, 2).unflatten(2, (4, 4))


def channels_first(features: torch.Tensor) -> torch.Tensor:
    return features.permute(0, 3, 1, 2)


def scaled(maps: torch.Tensor) -> np.ndarray:
    """What pytorch-grad-cam does to a map: negative values are 0, then it is stretched from 0 to 1 and enlarged."""
    from pytorch_grad_cam.utils.image import scale_cam_image

    positive = np.maximum(maps[:, 0].numpy(), 0)
    return scale_cam_image(scale_cam_image(positive, (SIZE, SIZE))[:, None].max(axis=1))


@pytest.mark.parametrize("name", list(THEIRS))
@pytest.mark.parametrize("network", ["resnet18", "vit", "swin"])
def test_maps_equal_those_of_pytorch_grad_cam(network: str, name: str) -> None:
    reshape: Callable[[torch.Tensor], torch.Tensor] | None = None
    if network == "resnet18":
        module = classifier()
    elif network == "vit":  # a class token and four registers, 16 patches
        small = {"depth": 2, "embed_dim": 48, "num_heads": 3, "reg_tokens": 4, "patch_size": 16}
        module = classifier("vit_small", arguments=small)
        assert module.network.encoder.net.num_prefix_tokens == 5
        reshape = patches_of_a_vit
    else:
        small = {"embed_dim": 24, "depths": (1, 1), "num_heads": (2, 4), "window_size": 4}
        module = classifier("swin_tiny", arguments=small)
        reshape = channels_first
    question = ask(module)
    ours = all_maps(question, [name])[name]
    assert ours.shape[:2] == (2, 1) and min(ours.shape[2:]) >= 2
    np.testing.assert_allclose(scaled(ours), theirs(question, name, reshape), atol=1e-4)


def test_cam_is_what_gradients_give_after_a_global_mean() -> None:
    """Grad-CAM before its ReLU is CAM over the number of cells, and HiResCAM sums to the logit without its bias."""
    question = ask(classifier())
    found = cam(question)[:, 0]
    with watch(question.module.network.encoder, question.layer) as watched:
        logits = question.module(question.inputs[0].requires_grad_())
    chosen = logits.gather(1, question.classes)[:, 0]
    (gradients,) = torch.autograd.grad(chosen.sum(), watched.features)
    before = weighted_sum(watched.features, gradients)
    torch.testing.assert_close(before, found / found[0].numel(), atol=1e-6, rtol=1e-4)
    bias = question.module.network.head.bias[question.classes[:, 0]]
    total = all_maps(question, ["hirescam"])["hirescam"].sum(dim=(1, 2, 3))
    torch.testing.assert_close(total, (chosen - bias).detach(), atol=1e-4, rtol=1e-4)


def test_integrated_gradients_add_up_to_the_difference_of_the_scores() -> None:
    question = ask(classifier())
    found = integrated_gradients(question).sum(dim=(1, 2, 3))
    with torch.no_grad():
        expected = question.score(question.inputs[0], 0) - question.score(question.baseline, 0)
    torch.testing.assert_close(found, expected, rtol=0.03, atol=0.02 * float(expected.abs().max()))


class OnePatch(torch.nn.Module):
    """A network whose score is the sum of one patch: rows 8 to 15, columns 32 to 39."""

    def __init__(self, module: Classifier) -> None:
        super().__init__()
        self.network, self.criterion, self.task = module.network, module.criterion, module.task

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        read = images[:, :, 8:16, 32:40].sum(dim=(1, 2, 3))
        return torch.stack([read, *[torch.zeros_like(read)] * 4], dim=1)


@pytest.mark.parametrize("method", [occlusion, integrated_gradients])
def test_a_network_that_reads_one_patch_is_seen_to_do_so(method: Callable[[Question], torch.Tensor]) -> None:
    module: Any = OnePatch(classifier()).eval()
    question = ask(module, classes=[[0], [0]])
    found = method(question)[:, 0].abs()
    cell = found[:, 1, 4] if found.shape[-1] == 8 else found[:, 8:16, 32:40].sum(dim=(1, 2))
    torch.testing.assert_close(cell, found.sum(dim=(1, 2)), rtol=1e-4, atol=1e-4)


def test_cells_outside_of_the_field_of_view_are_not_covered() -> None:
    question = ask(classifier())
    question.inside[:, :32] = False
    assert (occlusion(question)[:, :, :4] == 0).all() and (occlusion(question)[:, :, 4:] != 0).any()


def test_rollout_is_the_product_of_the_attentions() -> None:
    small = {"depth": 2, "embed_dim": 48, "num_heads": 3, "patch_size": 16}
    question = ask(classifier("vit_small", arguments=small))
    found = attention_rollout(question)[:, 0]
    blocks = question.module.network.encoder.net.blocks
    tokens = question.module.network.encoder.net
    flow, x = torch.eye(17), tokens._pos_embed(tokens.patch_embed(question.inputs[0][:1]))
    with torch.no_grad():
        for block in blocks:
            attn, y = block.attn, block.norm1(tokens.norm_pre(x))
            q, k, _ = attn.qkv(y).reshape(1, 17, 3, 3, 16).permute(2, 0, 3, 1, 4)
            weights = (q @ k.transpose(-2, -1) / 4).softmax(dim=-1)[0].mean(dim=0)
            flow = (0.5 * torch.eye(17) + 0.5 * weights) @ flow
            x = block(x)
    torch.testing.assert_close(found[0].flatten(), flow[0, 1:], atol=1e-5, rtol=1e-4)
    assert all(block.attn.fused_attn for block in blocks) or not blocks[0].attn.fused_attn


def test_the_weights_of_the_networks_own_attention() -> None:
    module = classifier(attention=section("attention", "cbam"))
    found = block_attention(ask(module))
    assert found.shape == (2, 1, 2, 2) and (found > 0).all() and (found < 1).all()
    for name in ("none", "se"):
        with pytest.raises(UserError, match="attention=cbam"):
            block_attention(ask(classifier(attention=section("attention", name))))


@pytest.mark.parametrize("loss", ["corn", "coral", "regression"])
def test_ordered_losses_explain_the_expected_grade(loss: str) -> None:
    module = classifier(loss=loss)
    logits = torch.randn(3, module.criterion.num_outputs)
    probabilities = module.criterion.probabilities(logits)
    expected = probabilities @ torch.arange(5).to(probabilities)
    torch.testing.assert_close(scores(module.criterion, logits, torch.tensor([0, 2, 4])), expected)
    assert (all_maps(ask(module), ["hirescam"])["hirescam"] != 0).any()


def test_a_frozen_network_has_maps_and_no_hook_and_no_gradient_is_left() -> None:
    module = classifier(tuning=section("tuning", "head"))
    question = ask(module)
    before = {name: len(part._forward_hooks) for name, part in module.named_modules()}
    assert (all_maps(question, ["hirescam"])["hirescam"] != 0).any()
    assert {name: len(part._forward_hooks) for name, part in module.named_modules()} == before
    assert all(p.grad is None for p in module.parameters()) and not module.training


def test_which_classes_get_a_map() -> None:
    probabilities = torch.tensor([[0.1, 0.6, 0.1, 0.1, 0.1], [0.9, 0.1, 0, 0, 0]])

    def of(target: str, truths: Any = None) -> list[list[int]]:
        return target_classes(target, DR_GRADE, probabilities, "argmax", truths).tolist()

    assert of("decided") == [[1], [0]] and of("true", [4, 2]) == [[4], [2]] and of("severe") == [[3], [3]]
    assert of("all") == [[0, 1, 2, 3, 4]] * 2
    assert target_classes("decided", ODIR_COURSE, torch.rand(2, 3), "threshold", None).tolist() == [[0, 1, 2]] * 2
    with pytest.raises(UserError, match="labels"):
        of("true")


def test_a_layer_that_does_not_exist_and_a_map_of_one_cell() -> None:
    with pytest.raises(UserError, match=r"layer=blocks does not exist in resnet18; there are: last, conv1"):
        ask(classifier(), layer="blocks")
    small = classifier()
    view = torch.ones(1, 32, 32, dtype=torch.bool)
    question = Question(
        small, (torch.randn(1, 3, 32, 32),), torch.tensor([[0]]), view, small.network.encoder.net.layer4
    )
    with pytest.raises(UserError, match="too coarse"):
        all_maps(question, ["gradcam"])


@pytest.mark.parametrize(
    ("name", "layer", "told"),
    [
        ("swin_tiny", "layers.0.blocks.0.norm2", "256 tokens, and swin_tiny's map has 8 x 8 cells"),
        ("convnext_tiny", "stages.0.blocks.0.norm", "which is no map of cells"),
    ],
)
def test_a_layer_whose_output_is_no_map_is_refused(name: str, layer: str, told: str) -> None:
    """Tokens of another grid, and a map with its channels last in a network that has them first otherwise."""
    small = {
        "swin_tiny": {"embed_dim": 24, "depths": (1, 1), "num_heads": (2, 4), "window_size": 4},
        "convnext_tiny": {"depths": (1, 1, 1, 1), "dims": (8, 16, 24, 32)},
    }
    with pytest.raises(UserError, match=told):
        all_maps(ask(classifier(name, arguments=small[name]), layer=layer), ["gradcam"])
