"""Pages out of templates, and pictures inside of them."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from numpy.typing import NDArray
from PIL import Image


def render(template: str, folder: Path | None = None, **values: Any) -> str:
    """Fill a template; it may extend `base.html.j2` of this package.

    Args:
        template: File name of the template.
        folder: Where it lies; None: in this package.
        **values: What it shows; text is escaped.
    """
    own = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([own] if folder is None else [folder, own]),
        autoescape=jinja2.select_autoescape(["html.j2", "html", "j2"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    return environment.get_template(template).render(**values)


def jpeg(image: NDArray[np.uint8]) -> str:
    """Return an RGB image (H, W, 3) as base64 of a JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=85)
    return base64.b64encode(buffer.getvalue()).decode()
