"""A server on this machine with the layout of the Hugging Face hub, which may stop in the middle of a file."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class _Requests(BaseHTTPRequestHandler):
    """Lists of files, their hashes, and their content; large files lie at another address, as at the hub."""

    def do_GET(self) -> None:
        self._answer(with_content=True)

    def do_HEAD(self) -> None:
        self._answer(with_content=False)

    def _answer(self, with_content: bool) -> None:
        hub: Any = self.server
        path = self.path.partition("?")[0]
        if path.startswith("/api/models/"):
            self._list(path.removeprefix("/api/models/").partition("/revision/")[0])
        elif path.startswith("/content/"):
            self._send(hub.content[path.removeprefix("/content/")], with_content, {})
        else:
            repository, _, rest = path[1:].partition("/resolve/")
            file = hub.repositories.get(repository, Path("/nowhere")) / rest.partition("/")[2]
            self._resolve(file, with_content) if file.is_file() else self._missing("EntryNotFound")

    def _list(self, repository: str) -> None:
        hub: Any = self.server
        if repository not in hub.repositories:
            self._missing("RepoNotFound")
            return
        files = [{"rfilename": file.name} for file in hub.repositories[repository].iterdir()]
        listing = {"id": repository, "modelId": repository, "sha": COMMIT, "siblings": files}
        self._send(json.dumps(listing).encode(), True, {"Content-Type": "application/json"})

    def _resolve(self, file: Path, with_content: bool) -> None:
        hub: Any = self.server
        content = file.read_bytes()
        git = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
        if file.suffix != ".safetensors":
            self._send(content, with_content, {"ETag": f'"{git}"', "X-Repo-Commit": COMMIT})
            return
        sha256 = hashlib.sha256(content).hexdigest()
        hub.content[sha256] = content
        self.send_response(302)
        own = {"X-Linked-Etag": f'"{sha256}"', "X-Linked-Size": str(len(content)), "X-Repo-Commit": COMMIT}
        for name, value in {**own, "Location": f"{hub.other}/content/{sha256}", "Content-Length": "0"}.items():
            self.send_header(name, value)
        self.end_headers()

    def _send(self, content: bytes, with_content: bool, headers: dict[str, str]) -> None:
        hub: Any = self.server
        start = int((self.headers.get("Range") or "bytes=0-")[6:].partition("-")[0])
        if with_content and len(content) > hub.most:
            hub.starts.append(start)
        self.send_response(206 if start else 200)
        for name, value in {**headers, "Content-Length": str(len(content) - start)}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_content:
            hub.tokens.append(self.headers.get("Authorization"))
            self.wfile.write(hub.change(content)[start : start + hub.most])

    def _missing(self, code: str) -> None:
        self.send_response(404)
        for name, value in {"X-Error-Code": code, "Content-Length": "0"}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def served_hub(repositories: dict[str, Path]) -> Iterator[Any]:
    """Serve folders as repositories.

    Yields:
        The server: `.address`, `.most` bytes of a file that are sent at once, `.starts` of files longer than that,
        `.change` of what is sent, `.tokens` that came with requests for content.
    """
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), _Requests)
    server.repositories, server.content, server.starts, server.tokens = repositories, {}, [], []
    server.most, server.change = 2**40, bytes
    server.address, server.other = (f"http://{name}:{server.server_port}" for name in ("127.0.0.1", "localhost"))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def use_hub(patch: pytest.MonkeyPatch, address: str, cache: Path) -> None:
    """Let the hub's library ask an address and keep files in a folder."""
    from huggingface_hub import constants

    patch.setattr(constants, "HF_HUB_OFFLINE", False)
    patch.delenv("HF_HUB_OFFLINE", raising=False)
    patch.setattr(constants, "ENDPOINT", address)
    patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    patch.setattr(constants, "HF_HUB_CACHE", str(cache))
