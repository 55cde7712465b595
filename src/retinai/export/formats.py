"""The formats of `retinai export`."""

from __future__ import annotations

# format -> the function `(cfg, module, out) -> None` that writes the folder.
FORMATS: dict[str, str] = {
    "onnx": "retinai.export.onnx:export",
    "openvino": "retinai.export.openvino:export",
    "hf": "retinai.llava.hf_export:export",
}
