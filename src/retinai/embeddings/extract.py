"""From photographs to a file of embeddings, a batch at a time."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from retinai import __version__
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.embeddings.files import write_embeddings
from retinai.embeddings.steps import EMBEDDING, SHA256, ContentHash, Embed, FrozenEncoder
from retinai.embeddings.unfinished import PartialEmbeddings
from retinai.encoders.tuning import hash_tensors
from retinai.errors import DataError
from retinai.log import note
from retinai.prediction.files import PhotographFiles, file_loader
from retinai.prediction.photographs import Photographs
from retinai.prediction.predictor import Predictor

if TYPE_CHECKING:
    from retinai.data.photographs.cache import PreparedCache


@dataclass(frozen=True)
class Request:
    """What is to be embedded, and how.

    Args:
        photographs: The files.
        preprocessing: How they become the input.
        cache: Prepared photographs of a data set; None for loose files, which have to show a retina.
        dtype: `float16` or `float32`, of the file.
        batch_size: Photographs per batch.
        num_workers: Processes that read, or `auto`.
        accelerator: `auto`, `cpu` or `gpu`.
        data: Name of the data set; empty for loose files.
        labels: What is known of photographs, in words, by id.
        checkpoint: The checkpoint whose encoder embeds; empty for one without training here.
    """

    photographs: Photographs
    preprocessing: Preprocessing
    cache: PreparedCache | None = None
    dtype: str = "float16"
    batch_size: int = 32
    num_workers: int | str = "auto"
    accelerator: str = "auto"
    data: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    checkpoint: str = ""


def embed_photographs(module: FrozenEncoder, request: Request, out: Path) -> dict[str, Any]:
    """Embed photographs into a file; what a killed command did of it is kept and gone on with.

    Args:
        module: The encoder.
        request: What, and how.
        out: A `.npz` or `.parquet` file.

    Returns:
        The `info` of the file: backbone, weights, pooling, dtype, preprocessing, `photographs`, `unreadable` (id to
        reason), `bytes_per_photograph`, `ms_per_photograph` (network alone) and `seconds` (of this call, with reading).

    Raises:
        DataError: If no photograph can be read, or the network gives no finite numbers.
        UserError: If the file cannot be written.
    """
    began = time.perf_counter()
    predictor = Predictor(module, request.accelerator)
    width = _width(module, predictor.device, request.preprocessing)
    plan = _plan(module, request)
    partial = PartialEmbeddings(out, plan, len(request.photographs.ids), width, request.dtype)
    if partial.resumed:
        note(f"going on from {partial.folder.name}: {len(partial.done)} of {len(request.photographs.ids)} were done")
    elif partial.replaced:
        note(f"{partial.folder.name} was of other photographs or settings, so it was begun anew")
    step = Embed()
    try:
        _compute(predictor, request, partial, step)
        info = _info(module, request, partial, step) | {
            "weights_sha256": plan["weights"],
            "seconds": round(time.perf_counter() - began, 1),
        }
        _finish(out, request, partial, info)
        partial.remove()
    finally:
        partial.close()
    return info


def _compute(predictor: Predictor, request: Request, partial: PartialEmbeddings, step: Embed) -> None:
    """Embed what is not done yet."""
    from retinai.data.loading.dataset import Collate

    names = request.photographs
    todo = [row for row in range(len(names.ids)) if row not in partial.done]
    chosen = Photographs([names.ids[row] for row in todo], [names.paths[row] for row in todo])
    fields = [ContentHash()]
    files = PhotographFiles(chosen, request.preprocessing, fields, request.cache)
    collate = Collate(request.preprocessing, None, fields)
    rows: list[int] = []

    def batches() -> Iterator[dict[str, Any]]:
        for items in file_loader(files, request.batch_size, request.num_workers):
            for index, _, reason in items:
                if reason:
                    partial.add_unreadable(todo[index], reason)
            good = [(todo[index], sample) for index, sample, _ in items if sample is not None]
            rows.extend(row for row, _ in good)
            if good:
                yield collate([sample for _, sample in good])

    done = len(partial.done)
    for ids, (found,) in predictor.stream(batches(), [step], len(names.ids), done, "embedding") if todo else ():
        partial.add(rows[: len(ids)], found[EMBEDDING], found[SHA256])
        del rows[: len(ids)]


def _width(module: FrozenEncoder, device: torch.device, preprocessing: Preprocessing) -> int:
    """Return K, by asking the network."""
    side = preprocessing.input_size
    with torch.inference_mode():
        return int(module(torch.zeros(1, 3, side, side, device=device)).shape[1])


def _plan(module: FrozenEncoder, request: Request) -> dict[str, Any]:
    """Return what decides the numbers of the file; with another plan nothing is gone on with."""
    state = module.encoder.state_dict()
    files = hashlib.sha256(json.dumps([request.photographs.ids, request.photographs.paths]).encode())
    return {
        "weights": hash_tensors(state, state),
        "pooling": module.pooling,
        "dtype": request.dtype,
        "preprocessing": request.preprocessing.to_dict(),
        "photographs": files.hexdigest(),
        "labelled": request.cache is not None,
        "version": __version__,
    }


def _info(module: FrozenEncoder, request: Request, partial: PartialEmbeddings, step: Embed) -> dict[str, Any]:
    encoder, ids = module.encoder, request.photographs.ids
    unreadable = {ids[row]: line["error"] for row, line in sorted(partial.done.items()) if "error" in line}
    report = encoder.load_report
    return {
        "backbone": encoder.name,
        "weights": "none" if report is None else str(report),
        "pooling": module.pooling,
        "dtype": request.dtype,
        "numbers": int(partial.vectors.shape[1]),
        "preprocessing": request.preprocessing.to_dict(),
        "data": request.data,
        "checkpoint": request.checkpoint or None,
        "photographs": len(ids) - len(unreadable),
        "unreadable": unreadable,
        "parameters": sum(p.numel() for p in encoder.parameters()),
        "bytes_per_photograph": int(partial.vectors.shape[1]) * partial.vectors.dtype.itemsize,
        "ms_per_photograph": round(1e3 * step.seconds / step.count, 3) if step.count else None,
        "version": __version__,
    }


def _finish(out: Path, request: Request, partial: PartialEmbeddings, info: dict[str, Any]) -> None:
    rows = sorted(row for row, line in partial.done.items() if "sha256" in line)
    if not rows:
        reason = next(iter(info["unreadable"].values()), "there are none")
        partial.remove()
        raise DataError(f"none of the {len(request.photographs.ids)} photographs could be read (first: {reason})")
    texts = {
        "id": [request.photographs.ids[row] for row in rows],
        "path": [request.photographs.paths[row] for row in rows],
        "sha256": [partial.done[row]["sha256"] for row in rows],
    }
    write_embeddings(out, partial.vectors, rows, texts, info)
