"""Files of the Hugging Face hub, gone on with after a stop and checked by the hash that the hub states.

The hub's own library asks for names and addresses and owns its cache; the bytes are received here, because that library
begins a file anew after each stop.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from retinai.encoders.downloading import download
from retinai.encoders.pretrained import access_refused, hub_answers
from retinai.errors import UserError
from retinai.files import UNWRITABLE, no_room, told

SUMS = "SHA256SUMS"  # as `sha256sum --check` reads it
_BLOCK = 2**20
_SHA256_LENGTH = 64  # characters


@dataclass(frozen=True)
class HubFile:
    """A file that was fetched.

    Attributes:
        path: Where it lies.
        sha256: Of its content.
    """

    path: Path
    sha256: str


def names_of(repository: str, revision: str | None) -> tuple[str, list[str]]:
    """Return the commit of a repository of the hub, and the names of its files.

    Args:
        repository: OWNER/NAME.
        revision: A branch, tag or commit; None is the newest.

    Raises:
        UserError: If it cannot be had.
    """
    from huggingface_hub import HfApi, constants

    _require_hub(repository)
    try:
        found = HfApi(endpoint=constants.ENDPOINT).model_info(repository, revision=revision)
    except Exception as error:  # the hub's own errors and those of its network library
        raise _refused(error, repository) from error
    return str(found.sha), sorted(file.rfilename for file in found.siblings or [])


def fetch_file(repository: str, name: str, revision: str | None, folder: Path | None, overwrite: bool) -> HubFile:
    """Get a file of the hub into a folder or into the hub's cache.

    Args:
        repository: OWNER/NAME.
        name: Name of the file.
        revision: A branch, tag or commit; None is the newest.
        folder: Where to; None: the hub's cache.
        overwrite: Get a file that is there anew.

    Raises:
        UserError: If it cannot be had, or has another hash than the hub states.
    """
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
    from huggingface_hub.utils import build_hf_headers

    _require_hub(repository, name)
    address = hf_hub_url(repository, name, revision=revision, endpoint=constants.ENDPOINT)
    try:
        known = get_hf_file_metadata(address, endpoint=constants.ENDPOINT)
    except Exception as error:  # the hub's own errors and those of its network library
        raise _refused(error, repository, name) from error
    digest = str(known.etag)
    place = _blob(repository, digest) if folder is None else folder / name
    own = urlsplit(known.location).netloc == urlsplit(address).netloc  # a token is nothing for other machines
    if overwrite or not _is_whole(place, digest):
        token = build_hf_headers() if own else {}
        download(known.location, place, headers=token, anew=overwrite, called=f"{name} of {repository}")
        if not _is_whole(place, digest):
            wrong = place.with_name(f"{place.name}.wrong")
            place.replace(wrong)
            raise UserError(f"what came for {name} of {repository} is not what the hub states ({digest}); it is kept "
                            f"as {wrong}; run the command again")  # fmt: skip
    if folder is None:
        place = _linked(repository, name, revision)
    is_sha256 = len(digest) == _SHA256_LENGTH  # of large files, which are not read once more
    return HubFile(place, digest if is_sha256 else sha256_of(place))


def hub_cache() -> Path:
    """Return the folder of the hub's cache."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def write_sums(folder: Path, files: Sequence[HubFile]) -> None:
    """Write the hashes of files into their folder, beside those of other files that stand there."""
    lines = {file.path.name: f"{file.sha256}  {file.path.name}" for file in files}
    there = folder / SUMS
    if there.exists():
        earlier = there.read_text(encoding="utf-8").splitlines()
        lines = {line.partition("  ")[2]: line for line in earlier} | lines
    there.write_text("".join(f"{line}\n" for _, line in sorted(lines.items())), encoding="utf-8")


def sha256_of(file: Path) -> str:
    """Return the SHA-256 of a file."""
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _is_whole(file: Path, digest: str) -> bool:
    """Whether a file is there with the hash that the hub states: SHA-256 of large files, git's own of small ones."""
    if not file.is_file():
        return False
    if len(digest) == _SHA256_LENGTH:
        return sha256_of(file) == digest
    found = hashlib.sha1(f"blob {file.stat().st_size}\0".encode(), usedforsecurity=False)
    with file.open("rb") as handle:
        while block := handle.read(_BLOCK):
            found.update(block)
    return found.hexdigest() == digest


def _blob(repository: str, digest: str) -> Path:
    """Return the file of the hub's cache that holds a content."""
    from huggingface_hub.file_download import repo_folder_name

    return hub_cache() / repo_folder_name(repo_id=repository, repo_type="model") / "blobs" / digest


def _linked(repository: str, name: str, revision: str | None) -> Path:
    """Return the name in the hub's cache of a content that lies there already."""
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(repository, name, revision=revision, cache_dir=hub_cache()))
    except Exception as error:  # the hub's own errors and those of its network library
        raise _refused(error, repository, name) from error


def _require_hub(repository: str, name: str = "") -> None:
    if not hub_answers():
        raise _refused(ConnectionError("it does not answer, or HF_HUB_OFFLINE is set"), repository, name)


def _refused(error: Exception, repository: str, name: str = "") -> UserError:
    """Return what a user can do about an error of the hub."""
    from huggingface_hub import constants

    refused = access_refused(error, repository)
    if refused is not None:
        return UserError(refused)
    if isinstance(error, OSError) and (no_room(error) or error.errno in UNWRITABLE):
        return UserError(f"what the hub sends cannot be written: {told(error)}; choose another out=")
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    what = f"{name} of " if name else ""
    return UserError(
        f"{what}{constants.ENDPOINT}/{repository} cannot be had ({reason}); on a machine without network fetch it "
        "elsewhere and give backbone.weights=PATH"
    )
