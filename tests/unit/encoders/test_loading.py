"""Weights from local files: prefixes, heads, resized positions, and refusals."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed
from timm.models.swin_transformer import checkpoint_filter_fn as filter_swin
from timm.models.vision_transformer import checkpoint_filter_fn as filter_vit

from retinai.encoders.encoder import build_encoder
from retinai.encoders.weights import load_weights
from retinai.errors import CheckpointError


def small(**changes: object) -> torch.nn.Module:
    return timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=32, depth=2, **changes)


def spec(weights: Path) -> dict[str, object]:
    return {"name": "r18", "architecture": "resnet18", "weights": str(weights), "input_size": 32}


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "backbone.", "module.backbone."])
def test_prefixes_containers_and_heads_are_explained(tmp_path: Path, prefix: str) -> None:
    source = timm.create_model("resnet18", num_classes=7)
    state = {prefix + k: v for k, v in source.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "w.pth")
    encoder = build_encoder(spec(tmp_path / "w.pth"))
    report = encoder.load_report
    assert report is not None and len(report.ignored) == 2 and not report.missing
    assert len(report.renamed) == (len(report.matched) if prefix else 0)
    assert torch.equal(encoder.net.conv1.weight, source.conv1.weight)


def test_safetensors(tmp_path: Path) -> None:
    source = timm.create_model("resnet18", num_classes=0)
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    encoder = build_encoder(spec(tmp_path / "w.safetensors"))
    assert torch.equal(encoder.net.layer4[1].conv2.weight, source.layer4[1].conv2.weight)


def test_position_embeddings_are_resized_as_timm_does() -> None:
    source, target = small(), timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=64, depth=2)
    report = load_weights(target, source.state_dict(), source="a file", convert=filter_vit)
    assert list(report.resized) == ["pos_embed"] and "(1, 5, 192) to (1, 17, 192)" in report.resized["pos_embed"]
    torch.testing.assert_close(target.pos_embed, resample_abs_pos_embed(source.pos_embed, [4, 4], num_prefix_tokens=1))


def test_relative_positions_are_resized() -> None:
    source = timm.create_model("swin_tiny_patch4_window7_224", num_classes=0, depths=(1, 1), num_heads=(3, 6))
    target = timm.create_model(
        "swin_tiny_patch4_window7_224", num_classes=0, depths=(1, 1), num_heads=(3, 6), img_size=32
    )
    report = load_weights(target, source.state_dict(), source="a file", convert=filter_swin)
    assert all(k.endswith("relative_position_bias_table") for k in report.resized) and not report.missing


def test_whatever_has_no_explanation_raises() -> None:
    good = small().state_dict()
    with pytest.raises(CheckpointError, match=r"1 of \d+ tensors missing \(first 'norm.weight'\)"):
        load_weights(small(), {k: v for k, v in good.items() if k != "norm.weight"}, source="a file")
    with pytest.raises(CheckpointError, match=r"1 unexpected keys \(first 'decoder.weight'\)"):
        load_weights(small(), {**good, "decoder.weight": torch.zeros(1)}, source="a file")
    with pytest.raises(CheckpointError, match="1 tensors of another shape"):
        load_weights(small(), {**good, "norm.weight": torch.zeros(3)}, source="a file")
    with pytest.raises(CheckpointError, match=r"95% are needed"):
        part = {k: v for k, v in good.items() if not k.startswith("blocks")}
        load_weights(small(), part, source="a file", may_miss=("blocks.",))


def test_a_failed_load_leaves_the_network_as_it_was() -> None:
    net = small()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    with pytest.raises(CheckpointError):
        load_weights(net, {**small().state_dict(), "x": torch.zeros(1)}, source="a file")
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())


def test_files_without_weights_and_of_another_network(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "none.pth")
    with pytest.raises(CheckpointError, match="holds no weights"):
        build_encoder(spec(tmp_path / "none.pth"))
    torch.save(small().state_dict(), tmp_path / "vit.pth")
    with pytest.raises(CheckpointError, match="do not fit this network"):
        build_encoder(spec(tmp_path / "vit.pth"))
