"""The photographs of a benchmark: JPEG bytes of 1024 x 680 pixels, as a camera's export gives them."""

from __future__ import annotations

import cv2
import numpy as np

WIDTH, HEIGHT = 1024, 680
_QUALITY = 92


def jpeg_photographs(images: str | None, count: int) -> list[bytes]:
    """Return the bytes of photographs of 1024 x 680 pixels.

    Args:
        images: A folder or pattern of photographs, each of which is fitted into the frame; None
            draws synthetic ones of all grades.
        count: How many; fewer if the folder holds fewer.

    Raises:
        UserError: If nothing is found, or a photograph cannot be read.
    """
    pixels = _drawn(count) if images is None else _read(images, count)
    return [encode(image) for image in pixels]


def _drawn(count: int) -> list[np.ndarray]:
    from retinai.synthetic.photograph import Findings, draw_photograph

    photographs = []
    for number in range(count):
        rng = np.random.default_rng(number)
        photograph = draw_photograph(rng, Findings(grade=number % 5), "idrid", WIDTH, mirrored=bool(number % 2))
        photographs.append(fit(photograph.image))
    return photographs


def _read(images: str, count: int) -> list[np.ndarray]:
    from retinai.data.photographs.images import read_photograph
    from retinai.prediction.photographs import find_photographs

    paths = find_photographs(images).paths
    chosen = np.unique(np.linspace(0, len(paths) - 1, min(count, len(paths))).astype(int))
    return [fit(read_photograph(paths[index])) for index in chosen]


def fit(image: np.ndarray) -> np.ndarray:
    """Return a photograph (H, W, 3) fitted into 1024 x 680 pixels, centred on black."""
    scale = min(WIDTH / image.shape[1], HEIGHT / image.shape[0])
    size = (min(WIDTH, round(image.shape[1] * scale)), min(HEIGHT, round(image.shape[0] * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    top, left = (HEIGHT - size[1]) // 2, (WIDTH - size[0]) // 2
    frame[top : top + size[1], left : left + size[0]] = small
    return frame


def encode(image: np.ndarray) -> bytes:
    """Return an RGB image (H, W, 3), uint8, as a JPEG of quality 92."""
    done, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    if not done:
        raise RuntimeError("OpenCV could not encode a JPEG")
    return data.tobytes()
