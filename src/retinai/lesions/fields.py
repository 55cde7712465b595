"""Findings as a key of sample and batch."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from retinai.data.loading.fields import FieldContext, FieldSample, SampleField
from retinai.lesions.findings import Findings
from retinai.lesions.mask_files import check_masks
from retinai.lesions.measured import measure_files


@runtime_checkable
class BringsFindings(Protocol):
    """A source whose labels hold the findings themselves, so that no mask is measured."""

    def findings(self) -> Mapping[str, Findings]:
        """Return the findings of the annotated photographs, {id: findings}."""
        ...


class FindingsField(SampleField):
    """`findings`: the findings of a photograph; None where nothing is annotated.

    Args:
        findings: Findings per id; a data set that it is bound to gives its own.
    """

    name = "findings"
    needs_annotations = True

    def __init__(self, findings: Mapping[str, Findings] | None = None) -> None:
        self.findings = dict(findings or {})

    def bind(self, data: FieldContext) -> FindingsField:
        """Return the field with the findings of a data set, see `findings_of`."""
        bound = copy.copy(self)
        bound.findings = findings_of(data)
        return bound

    def load(self, sample: FieldSample) -> Findings | None:
        """Return the findings of one sample, measured on its masks before (the pixels are not looked at)."""
        return self.findings.get(sample.id)

    def collate(self, values: list[Findings | None]) -> list[Findings | None]:
        """Return the findings of a batch as a list."""
        return list(values)


def findings_of(data: FieldContext) -> dict[str, Findings]:
    """Return the findings of a data set: those that its source brings, or measured on its masks once per content.

    Returns:
        {id: findings}; ids that are not here are not annotated.

    Raises:
        BadImageError: If a photograph cannot be read.
        DataError: If a mask cannot be read or does not fit its photograph, or the masks are not there.
    """
    if isinstance(data.source, BringsFindings):
        return dict(data.source.findings())
    paths = data.paths
    return measure_files(check_masks(data.source.annotations(), paths, data.cache_dir), paths, data.cache_dir)
