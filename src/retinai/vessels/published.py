"""The published W-Nets: which files they are, where they are had, and how they load."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from retinai.encoders.weights import load_weights, read_checkpoint, unwrap_state
from retinai.errors import CheckpointError, UserError
from retinai.vessels.network import WNet

HOME = "github.com/agaldran/lwnet"
LICENCE = "MIT"


@dataclass(frozen=True)
class PublishedNetwork:
    """A network whose weights are published.

    Args:
        name: Folder of its file in the owner's `experiments`.
        classes: Channels of the logits.
        widths: Channels of each level of its U-Nets.
        parameters: How many numbers are learned.
        home: Where its file is had.
    """

    name: str
    classes: int
    widths: tuple[int, ...]
    parameters: int
    home: str = HOME

    @property
    def files(self) -> tuple[str, str]:
        """Where its weights may lie in a folder of weights; the first that is there counts."""
        return f"lwnet/{self.name}.safetensors", f"lwnet/{self.name}/model_checkpoint.pth"


VESSELS = PublishedNetwork("wnet_drive", 1, (8, 16, 32), 68_482)
ARTERIES_VEINS = PublishedNetwork("big_wnet_drive_av", 4, (8, 16, 32, 64), 279_464)


def find_weights(network: PublishedNetwork, folder: str | Path, chosen_by: str = "vessels") -> Path:
    """Return the file of a network's weights.

    Args:
        network: The network.
        folder: `paths.weights`.
        chosen_by: The key that chooses how vessels are found, to name in messages.

    Raises:
        UserError: If it is not there; says which files are looked for, where they are had, and their licence.
    """
    folder = Path(folder).expanduser()
    for file in network.files:
        if (folder / file).is_file():
            return folder / file
    first, second = network.files
    raise UserError(
        f"the weights of {network.name} are not in paths.weights={folder}: get experiments/{network.name}/"
        f"model_checkpoint.pth of {network.home} (licence {LICENCE}) and put it there as {second} (or, as safetensors, "
        f"{first}); or do without weights: {chosen_by}=sato"
    )


def load_network(network: PublishedNetwork, file: str | Path) -> WNet:
    """Return a published network with its weights, ready to predict.

    Args:
        network: The network.
        file: `.pth` as it is published (nothing in it is executed), or `.safetensors`.

    Raises:
        CheckpointError: If the file is missing or damaged, or is not wholly and only this network's.
    """
    model = WNet(network.classes, network.widths)
    state = unwrap_state(read_checkpoint(file), f"checkpoint {file}")
    try:
        report = load_weights(model, state, source=str(file))
    except CheckpointError as error:
        raise CheckpointError(
            f"{file} does not hold the weights of {network.name} (from {network.home}): {error}"
        ) from error
    # The loader explains what files of classifiers lack or have besides; of a W-Net, every tensor has its place.
    if report.missing or report.ignored or report.resized:
        raise CheckpointError(
            f"{file} does not hold the weights of {network.name} (from {network.home}) and nothing else: {report}"
        )
    return model.eval()
