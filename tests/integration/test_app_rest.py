"""`retinai app` without torch: REST beside the page, its limits, and the record."""

from __future__ import annotations

import io
import json
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from clinic_environment import closure, make_environment
from fundus_pictures import fundus_pictures
from served_page import Served, served

from retinai.runtime import ExportedModel
from retinai.tasks.known import DR_GRADE

PNG_HEAD = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_environment(tmp_path_factory.mktemp("environment"), {"app"})


@pytest.fixture(scope="module")
def page(python: Path, tiny_export: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    words = [f"model={tiny_export}", "port=0", "max_megabytes=2", "threads=1", "time_limit=120"]
    with served(python, tmp_path_factory.mktemp("page"), words) as started:
        yield started
    assert started.process.returncode == 130, "".join(started.said)  # Ctrl-C is told as by every command
    assert "Traceback" not in "".join(started.said)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("photographs")
    for number, data in enumerate(fundus_pictures(20)):
        (folder / f"eye{number:02}.png").write_bytes(data)
    return sorted(folder.iterdir())


def grade(url: str, data: bytes, **more: Any) -> httpx.Response:
    headers = more.pop("headers", {})
    return httpx.post(f"{url}/api/v1/grade", files={"photograph": data}, data=more, headers=headers, timeout=60)


def rows(page: Served) -> list[sqlite3.Row]:
    with sqlite3.connect(page.folder / "app_audit.sqlite") as connection:
        connection.row_factory = sqlite3.Row
        return connection.execute("SELECT * FROM gradings ORDER BY id").fetchall()


def test_the_extra_brings_no_torch() -> None:
    names = {distribution.metadata["Name"].lower() for distribution in closure({"app"})}
    assert "gradio" in names and not names & {"torch", "lightning", "timm", "torchvision", "scikit-learn", "scipy"}


def test_it_starts_with_little_work(page: Served) -> None:
    process = psutil.Process(page.process.pid)
    spent = sum(sum(one.cpu_times()[:2]) for one in [process, *process.children(recursive=True)])
    assert spent < 12, f"{spent} processor seconds, {page.seconds:.1f} s"


def test_twenty_at_once_each_get_their_own(page: Served, photographs: list[Path], tiny_export: Path) -> None:
    expected = ExportedModel(tiny_export, threads=1).predict(photographs, workers=0)
    before = len(rows(page))
    with ThreadPoolExecutor(20) as pool:
        asked = [pool.submit(grade, page.url, path.read_bytes(), eye="left", operator="ab") for path in photographs]
        answers = [one.result() for one in asked]
    assert {answer.status_code for answer in answers} == {200}
    for answer, row in zip(answers, expected.itertuples(), strict=True):
        found = answer.json()
        assert found["prediction"] == [DR_GRADE.classes[int(row.prediction)]]
        told = [found["probabilities"][name] for name in DR_GRADE.classes]
        np.testing.assert_allclose(told, [getattr(row, f"p_{name}") for name in DR_GRADE.classes], atol=1e-6)
        assert found["quality"] in ("good", "usable", "reject")
        referred = "refer" if int(row.prediction) >= 2 else "routine"
        assert found["action"] == ("recheck" if found["quality"] == "reject" else referred)
        assert found["disclaimer"].startswith("Research software")
    assert len({answer.json()["photograph_sha256"] for answer in answers}) == len({p.read_bytes() for p in photographs})
    written = rows(page)[before:]
    assert len(written) == 20 and {(row["operator"], row["origin"], row["eye"]) for row in written} == {
        ("ab", "api", "left")
    }
    assert all(json.loads(row["output"])["photograph_sha256"] == row["photograph_sha256"] for row in written)
    assert max(len(str(value)) for row in written for value in row) < 2000  # no photograph in it
    assert page.uploads() == []


def spot() -> bytes:
    from PIL import Image

    pixels = np.zeros((200, 300, 3), np.uint8)
    pixels[20:40, 30:60] = 220
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty file"),
        (b"no photograph", "cannot be read as a photograph"),
        (PNG_HEAD + b"broken", "cannot be read as a photograph"),
        (b"\xff\xd8\xff\xe0" + bytes(1000), "cannot be read as a photograph"),
        (spot(), "does not look like a photograph of the retina"),
    ],
    ids=["empty", "text", "png", "jpeg", "spot"],
)
def test_what_is_no_photograph_has_a_reason(page: Served, data: bytes, said: str) -> None:
    answer = grade(page.url, data)
    found = answer.json()
    assert answer.status_code == 200 and found["prediction"] == [] and found["action"] == "recheck"
    assert said in found["reasons"][0]


def test_the_schema_tells_what_is_asked_and_answered(page: Served) -> None:
    schema = httpx.get(f"{page.url}/api/v1/openapi.json").json()
    assert schema["openapi"].startswith("3.") and {"/api/v1/grade", "/api/v1/model"} <= set(schema["paths"])
    assert set(schema["components"]["schemas"]["Answer"]["required"]) >= {"prediction", "probabilities", "action"}
    model = httpx.get(f"{page.url}/api/v1/model").json()
    assert model["classes"] == list(DR_GRADE.classes) and len(model["sha256"]) == 64


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"headers": {"host": "clinic.example"}}, 403),
        ({"headers": {"origin": "http://elsewhere.example"}}, 403),
        ({"eye": "third"}, 422),
        ({"operator": "x" * 101}, 422),
    ],
)
def test_requests_that_are_refused(page: Served, photographs: list[Path], more: dict[str, Any], code: int) -> None:
    assert grade(page.url, photographs[0].read_bytes(), **more).status_code == code


def test_requests_that_are_too_large_are_refused_unread(page: Served) -> None:
    before = len(rows(page))
    for path in ("api/v1/grade", "gradio_api/upload"):
        try:
            code = httpx.post(f"{page.url}/{path}", files={"files": bytes(50 * 2**20)}, timeout=60).status_code
        except (httpx.WriteError, httpx.RemoteProtocolError):  # closed while the rest was on its way
            code = 413
        assert code == 413
    # The status alone: what follows it may be lost when a connection is closed with a request unread.
    with httpx.stream("POST", f"{page.url}/api/v1/grade", content=iter([b"a", b"b"]), timeout=60) as chunks:
        assert chunks.status_code == 411
    just_more = grade(page.url, bytes(2 * 2**20 + 100)).json()
    assert "larger than 2 MB" in just_more["reasons"][0] and len(rows(page)) == before + 1


def test_any_other_address_asks_for_a_password(
    tiny_export: Path, command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RETINAI_APP_PASSWORD", raising=False)
    (tmp_path / "short").write_text("abc\n")
    taken = tmp_path / "taken.sqlite"
    taken.write_text("this is no database, it is a text")
    cases = [
        (["host=0.0.0.0"], "needs a password"),
        (["password_file=short"], "8 or more"),
        (["password_file=nowhere"], "password_file=nowhere cannot be used (nowhere: no such file)"),
        (["audit=taken.sqlite"], "cannot be used as a record"),
        (["audit=new.sqlite", "keep_photographs=short"], "keep_photographs=short is a file; choose a folder"),
        (["host=192.0.2.1", "password_file=long"], "cannot be used"),
        (["recommendation.grades.mild.refer=perhaps"], "recommendation.grades.mild.refer=perhaps is not allowed"),
    ]
    (tmp_path / "long").write_text("a long password\n")
    for words, said in cases:
        assert command("app", f"model={tiny_export}", "port=0", *words) == 2
        told = capsys.readouterr().err
        assert said in told and "Traceback" not in told, told
    assert sorted(path.name for path in tmp_path.iterdir()) == ["long", "short", "taken.sqlite"]


def test_with_a_password_page_and_rest_ask_for_it(
    python: Path, tiny_export: Path, photographs: list[Path], tmp_path: Path
) -> None:
    secret = {"RETINAI_APP_PASSWORD": "correct horse"}
    words = [f"model={tiny_export}", "port=0", "keep_photographs=kept"]
    with served(python, tmp_path / "clinic", words, secret) as page:
        data = photographs[0].read_bytes()
        assert grade(page.url, data).status_code == 401
        assert httpx.get(f"{page.url}/api/v1/openapi.json").status_code == 401
        assert httpx.get(f"{page.url}/config").status_code == 401
        wrong = httpx.post(f"{page.url}/login", data={"username": "dr", "password": "guess"})
        right = httpx.post(f"{page.url}/login", data={"username": "dr", "password": "correct horse"})
        assert (wrong.status_code, right.status_code) == (400, 200)
        good = httpx.post(
            f"{page.url}/api/v1/grade", files={"photograph": data}, data={"operator": "somebody else"},
            auth=("dr", "correct horse"), timeout=60,
        )  # fmt: skip
        assert good.status_code == 200 and rows(page)[-1]["operator"] == "dr"
        kept = page.folder / "kept" / good.json()["photograph_sha256"]
        assert kept.read_bytes() == data
    assert "correct horse" not in "".join(page.said)
