"""The W-Nets: their size, their published files, and what is refused in place of these."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from retinai.errors import CheckpointError, UserError
from retinai.vessels.network import WNet
from retinai.vessels.published import ARTERIES_VEINS, VESSELS, PublishedNetwork, find_weights, load_network

BOTH = pytest.mark.parametrize("network", [VESSELS, ARTERIES_VEINS], ids=lambda network: network.name)


@BOTH
def test_published_numbers_of_parameters(network: PublishedNetwork) -> None:
    model = WNet(network.classes, network.widths)
    assert sum(p.numel() for p in model.parameters()) == network.parameters


def test_the_second_unet_reads_the_photograph_and_the_logits_of_the_first() -> None:
    torch.manual_seed(0)
    model, photographs = WNet(1, (8, 16, 32)).eval(), torch.rand(2, 3, 16, 24)
    with torch.no_grad():
        first = model.unet1(photographs)
        assert torch.equal(model(photographs), model.unet2(torch.cat([photographs, first], dim=1)))
        assert first.shape == (2, 1, 16, 24)


@BOTH
def test_both_kinds_of_files_give_equal_logits(network: PublishedNetwork, weights_root: Path) -> None:
    files = [weights_root / file for file in network.files]
    one, other = (load_network(network, file) for file in files)
    photographs = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(one(photographs), other(photographs))
    assert find_weights(network, weights_root) == files[0]


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize(
    "wrong", ["another network", "half of it", "more than it", "other shapes", "half a file", "empty", "text", "nan"]
)
def test_what_is_not_wholly_the_network_is_refused(wrong: str, suffix: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = WNet(1, (8, 16, 32)).state_dict()
    changed = {
        "another network": lambda: WNet(4, (8, 16, 32, 64)).state_dict(),
        "half of it": lambda: {k: v for k, v in state.items() if k.startswith("unet1")},
        "more than it": lambda: state | {"unet3.final.weight": torch.zeros(1)},
        "other shapes": lambda: WNet(1, (8, 16, 24)).state_dict(),
        "nan": lambda: state | {"unet2.final.bias": torch.tensor([float("nan")])},
    }
    file = tmp_path / f"wrong.{suffix}"
    content = changed.get(wrong, lambda: state)()
    if suffix == "pth":
        torch.save({"model_state_dict": content, "optimizer_state_dict": {}, "stats": None}, file)
    else:
        save_file({k: v.contiguous() for k, v in content.items()}, file)
    plain = {"half a file": file.read_bytes()[: file.stat().st_size // 2], "empty": b"", "text": b"no weights"}
    if wrong in plain:
        file.write_bytes(plain[wrong])
    with pytest.raises(CheckpointError, match=rf"wrong\.{suffix}"):
        load_network(VESSELS, file)


def test_a_file_with_all_but_one_tensor_is_refused(tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = WNet(1, (8, 16, 32)).state_dict()
    del state["unet2.final.bias"]
    torch.save(state, tmp_path / "one.pth")
    with pytest.raises(CheckpointError, match=r"one\.pth"):
        load_network(VESSELS, tmp_path / "one.pth")


def test_a_missing_file_says_which_where_from_and_its_licence(tmp_path: Path) -> None:
    with pytest.raises(UserError) as told:
        find_weights(ARTERIES_VEINS, tmp_path)
    for word in (
        str(tmp_path),
        "lwnet/big_wnet_drive_av/model_checkpoint.pth",
        "agaldran/lwnet",
        "MIT",
        "paths.weights",
    ):
        assert word in str(told.value)
