"""Findings of many photographs, measured once per content and kept in the cache folder."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from retinai.data.curation.checked_lines import DamagedLineError, decode, encode
from retinai.data.curation.file_index import FileIndex, file_signature
from retinai.data.parallel import choose_workers, run_parallel
from retinai.data.photographs.images import read_photograph
from retinai.errors import DataError
from retinai.files import MAX_TEXT_BYTES, UnreadableError, read_regular, write_text
from retinai.lesions.findings import FINDINGS_VERSION, Findings, measure_findings
from retinai.lesions.mask_files import read_lesion_mask

# An id, its photograph, its masks, and the file that keeps its findings.
_Job = tuple[str, str, dict[str, str], str]


def measure_files(
    masks: Mapping[str, Mapping[str, str]],
    paths: Mapping[str, str],
    cache: str | Path,
    workers: int | str | None = None,
    progress: str | None = "measuring lesions",
) -> dict[str, Findings]:
    """Return the findings of annotated photographs, reading masks only where they are new or changed.

    Findings are kept as `<cache>/findings/<key>.json`; the key is a hash of the contents of the
    photograph and its masks, and of the version of the measurement. The line in it has a checksum.

    Args:
        masks: {id: {lesion: mask file}}; a lesion without a file is absent.
        paths: {id: photograph}; ids that are not here are left out.
        cache: The cache folder.
        workers: Number of processes, 0 for none, None or `auto` to choose.
        progress: Text of the progress bar, None for none.

    Returns:
        {id: findings}, in the order of `masks`.

    Raises:
        BadImageError: If a photograph cannot be read.
        DataError: If a mask cannot be read, or does not fit its photograph; names both.
    """
    index, folder = FileIndex(Path(cache)), Path(cache) / "findings"
    wanted = {name: dict(files) for name, files in masks.items() if name in paths}
    files = {name: folder / f"{_key(index, paths[name], wanted[name])}.json" for name in wanted}
    known = {name: _read(file) for name, file in files.items()}
    jobs: list[_Job] = [(n, paths[n], wanted[n], str(files[n])) for n, found in known.items() if found is None]
    total = sum(signature[0] for job in jobs for f in (job[1], *job[2].values()) if (signature := file_signature(f)))
    fresh = dict(run_parallel(_measure_one, jobs, choose_workers(workers, total), progress))
    return {name: fresh[name] if found is None else found for name, found in known.items()}


def _key(index: FileIndex, photograph: str, masks: Mapping[str, str]) -> str:
    parts = [str(FINDINGS_VERSION), str(index.content_hash(photograph))]
    parts += [f"{lesion}={index.content_hash(masks[lesion])}" for lesion in sorted(masks)]
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:32]


def _read(file: Path) -> Findings | None:
    """Return kept findings, or None where there are none; what was changed since is measured anew."""
    try:
        return Findings.from_dict(decode(read_regular(file, MAX_TEXT_BYTES).strip()))
    except (UnreadableError, DamagedLineError, DataError):
        return None


def _measure_one(job: _Job) -> tuple[str, Findings]:
    name, path, files, kept = job
    masks = {lesion: read_lesion_mask(file) for lesion, file in files.items()}
    try:
        found = measure_findings(read_photograph(path), masks)
    except DataError as error:
        raise DataError(f"{path}: {error}; masks: {', '.join(files.values())}") from error
    write_text(kept, encode(found.to_dict()).decode() + "\n")
    return name, found
