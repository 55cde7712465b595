"""Photographs that occur more than once: the same bytes, or the same picture in other bytes.

The threshold was measured on 466 IDRiD photographs (parts A and B; 108,338 pairs with different bytes;
256-bit hashes of the field of view). The 39 pairs that are one photograph written twice
differ in 0 to 10 bits (median 2). Then comes a gap: three pairs of second photographs of one eye
at 20, 22 and 24, and different eyes from 28 on (median 82). On 39 photographs, a black border around the
frame, quarter size, or half the brightness stay within 12 bits of the original, JPEG quality 30 within 14.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from retinai.data.curation.file_index import FileRecord

NEAR_DISTANCE = 14  # different bits of 256
_ROWS_AT_ONCE = 512


@dataclass(frozen=True)
class DuplicateGroup:
    """Files that show one photograph.

    Args:
        kind: `exact` if all files are byte for byte the same, else `near`.
        paths: The files, two or more, in the order given.
    """

    kind: Literal["exact", "near"]
    paths: tuple[str, ...]


def find_duplicates(
    records: Mapping[str, FileRecord] | Iterable[FileRecord], near: bool = True, distance: int = NEAR_DISTANCE
) -> list[DuplicateGroup]:
    """Group files that show one photograph; links are followed through.

    Args:
        records: Records of a `FileIndex`, or path -> record; bad files are passed over.
        near: Also link photographs whose perceptual hashes are alike.
        distance: Number of different bits, of 256, up to which hashes are alike.

    Returns:
        Groups of two or more, in the order of their first file.
    """
    pairs = list(records.items()) if isinstance(records, Mapping) else [(r.path, r) for r in records]
    good = [(path, record) for path, record in pairs if record.sha256 and not record.reason]
    if len(good) < 2:
        return []
    contents = {sha256: number for number, sha256 in enumerate(dict.fromkeys(r.sha256 for _, r in good))}
    content = np.array([contents[record.sha256] for _, record in good])
    first = {record.sha256: record for _, record in reversed(good)}
    links = near_pairs([first[sha256].phash for sha256 in contents], distance) if near else np.empty((0, 2), int)
    graph = coo_matrix((np.ones(len(links)), links.T), shape=(len(contents), len(contents)))
    component = connected_components(graph, directed=False)[1][content]
    members: dict[int, list[int]] = {}
    for row, number in enumerate(component):
        members.setdefault(int(number), []).append(row)
    return [
        DuplicateGroup("exact" if len(set(content[rows])) == 1 else "near", tuple(good[row][0] for row in rows))
        for rows in members.values()
        if len(rows) > 1
    ]


def near_pairs(hashes: list[str], distance: int = NEAR_DISTANCE) -> np.ndarray:
    """Return the pairs of hashes that differ in at most `distance` bits.

    Args:
        hashes: N perceptual hashes, 64 hex digits each.
        distance: Largest number of different bits.

    Returns:
        Row numbers (i, j) with i < j, int, shape (M, 2).
    """
    words = hash_words(hashes)
    found = []
    for start in range(0, len(words), _ROWS_AT_ONCE):
        rows, columns = np.nonzero(bit_distances(words[start : start + _ROWS_AT_ONCE], words[start:]) <= distance)
        later = rows < columns
        found.append(np.stack([rows[later], columns[later]], axis=1) + start)
    return np.concatenate(found) if found else np.empty((0, 2), int)


def hash_words(hashes: list[str]) -> np.ndarray:
    """Return hex hashes as 64-bit words, uint64, shape (N, 4)."""
    return np.frombuffer(bytes.fromhex("".join(hashes)), np.uint64).reshape(len(hashes), -1)


def bit_distances(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the number of different bits of each pair, uint16, shape (N, M)."""
    total = np.zeros((len(left), len(right)), np.uint16)
    for word in range(left.shape[1]):  # one word at a time keeps the tables small
        total += np.bitwise_count(left[:, word, None] ^ right[None, :, word])
    return total
