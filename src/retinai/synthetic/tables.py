"""Tables of the owners' odd forms: Excel workbooks whose bytes depend on nothing but their content."""

from __future__ import annotations

import datetime
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

from retinai.files import atomic_path

# Neither the clock nor the machine may show in a file that is to be the same every time.
_WHEN = datetime.datetime(2019, 1, 1)


def write_xlsx(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]], sheet: str = "Sheet1") -> None:
    """Write an Excel workbook with one sheet; the same content gives the same bytes.

    Args:
        path: File to write.
        header: Names of the columns.
        rows: Cells row by row; text stays text and numbers stay numbers.
        sheet: Name of the sheet.
    """
    from openpyxl import Workbook

    book = Workbook()
    page = book.active
    page.title = sheet
    page.append(list(header))
    for row in rows:
        page.append(list(row))
    book.properties.creator = "retinai"
    book.properties.created = book.properties.modified = _WHEN
    raw = io.BytesIO()
    book.save(raw)
    with atomic_path(path) as temporary:
        temporary.write_bytes(_without_clock(raw.getvalue()))


def _without_clock(content: bytes) -> bytes:
    """Return a workbook's zip archive with fixed times; openpyxl stamps entries and `modified` when it saves."""
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for entry in source.infolist():
            data = source.read(entry.filename)
            if entry.filename == "docProps/core.xml":
                data = _fix_modified(data)
            fixed = zipfile.ZipInfo(entry.filename, date_time=_WHEN.timetuple()[:6])
            fixed.compress_type = zipfile.ZIP_DEFLATED
            target.writestr(fixed, data)
    return packed.getvalue()


def _fix_modified(data: bytes) -> bytes:
    import re

    stamp = _WHEN.strftime("%Y-%m-%dT%H:%M:%SZ").encode()
    return re.sub(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", stamp, data)
