"""What came from what, as artifacts of Weights & Biases: data -> checkpoint -> evaluation -> exported folder.

An artifact holds digests and figures, neither photographs nor weights. Two commands that make the same one give it the
same name and content, which W&B takes for one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retinai.tracking.wandb_connection import RUN_ID

if TYPE_CHECKING:
    import wandb

_DIGITS = 16


@dataclass(frozen=True)
class Item:
    """One thing that something came from or that was made.

    Attributes:
        kind: The artifact's type: `dataset`, `model`, `evaluation`, `exported`.
        name: The artifact's name.
        content: Plain values.
    """

    kind: str
    name: str
    content: Mapping[str, Any]


def data_item(name: str, fingerprint: str) -> Item:
    """Return a data set with its parts.

    Args:
        name: Name of the data set.
        fingerprint: Of `FundusDataModule`.
    """
    return Item("dataset", f"data-{fingerprint[:_DIGITS]}", {"data": name, "fingerprint": fingerprint})


def checkpoint_item(path: Path) -> Item:
    """Return a checkpoint by its SHA-256; that of a run which W&B knows is named after the run.

    Args:
        path: The file.
    """
    digest = _sha256(path)
    known = path.parent.parent / RUN_ID
    name = known.read_text(encoding="utf-8").strip() if known.exists() else digest[:_DIGITS]
    return Item("model", f"checkpoint-{name}", {"file": path.name, "sha256": digest})


def exported_item(folder: Path) -> Item:
    """Return an exported folder by the SHA-256 of its files.

    Args:
        folder: The folder.
    """
    files = {str(path.relative_to(folder)): _sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()}
    digest = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
    return Item("exported", f"exported-{digest[:_DIGITS]}", {"files": files})


def take(run: wandb.Run, item: Item) -> None:
    """Note that something is what a run begins with.

    Args:
        run: The W&B run.
        item: The thing.
    """
    # `use_artifact` refuses to work offline and waits for the server online; this is what it calls, and the note is
    # sent by `wandb sync`, too.
    run._log_artifact(_artifact(item), is_user_created=True, use_after_commit=True)


def give(run: wandb.Run, item: Item) -> None:
    """Note that something was made by a run.

    Args:
        run: The W&B run.
        item: The thing.
    """
    run.log_artifact(_artifact(item))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _artifact(item: Item) -> wandb.Artifact:
    import wandb

    artifact = wandb.Artifact(item.name, type=item.kind, metadata=dict(item.content))
    with artifact.new_file(f"{item.kind}.json", encoding="utf-8") as file:
        file.write(json.dumps(item.content, sort_keys=True, indent=1) + "\n")
    return artifact
