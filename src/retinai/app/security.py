"""Who may use the page, and which requests are refused before anything reads them."""

from __future__ import annotations

import hmac
import os
import time
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from retinai.errors import UserError
from retinai.files import read_text

ENVIRONMENT = "RETINAI_APP_PASSWORD"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
_SHORTEST = 8
_ROOM = 64 * 1024  # bytes of a request beside its photograph
_Scope = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[Any]]
_Send = Callable[[Any], Awaitable[None]]


class Password:
    """The password that all users of a page share; the name that they give beside it goes into the record.

    Args:
        secret: The password.
    """

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    def accepts(self, name: str, secret: str) -> bool:
        """Return whether somebody may use the page; a wrong password takes a second, so that guessing takes long."""
        good = hmac.compare_digest(secret.encode(), self._secret) and bool(name.strip())
        if not good:
            time.sleep(1)
        return good


def find_password(file: str | None, host: str) -> Password | None:
    """Return the password of a configuration or of the environment.

    Args:
        file: A file whose first line it is.
        host: The address that the page is bound to.

    Raises:
        UserError: If it is too short, the file cannot be read, or there is none and the address is not this
            machine's own.
    """
    if file is not None:
        where = f"password_file={file}"
        try:
            secret = next(iter(read_text(Path(file).expanduser()).splitlines()), "")
        except UserError as error:
            raise UserError(
                f"{where} cannot be used ({error}); name a file whose first line is the password"
            ) from error
    else:
        secret, where = os.environ.get(ENVIRONMENT, ""), ENVIRONMENT
    if file is None and not secret:
        if host in LOOPBACK:
            return None
        raise UserError(
            f"host={host} lets other machines in, which needs a password: password_file=FILE, or the environment "
            f"variable {ENVIRONMENT}; or leave out host= for this machine alone"
        )
    if len(secret) < _SHORTEST:
        raise UserError(f"{where} holds a password of {len(secret)} characters; give one of {_SHORTEST} or more")
    return Password(secret)


class Guard:
    """Refuses requests that are too large, that came under another machine's name, or from another site's page.

    A name other than this machine's own on a page that is bound to it means that a site has its name lead here; a
    page of another site may send requests too, and must not.

    Args:
        app: What answers the others.
        host: The address that the page is bound to.
        max_bytes: Of the largest photograph.
    """

    def __init__(self, app: Any, host: str, max_bytes: int) -> None:
        self._app = app
        self._names = set(LOOPBACK) if host in LOOPBACK else None
        self._limit = max_bytes + _ROOM

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """Answer a request, or pass it on."""
        refusal = self._refusal(scope) if scope["type"] in ("http", "websocket") else None
        if refusal is None:
            await self._app(scope, receive, send)
            return
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        status, reason = refusal
        body = reason.encode()
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode()),
                   (b"connection", b"close")]  # fmt: skip
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _refusal(self, scope: _Scope) -> tuple[int, str] | None:
        headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}
        host = headers.get("host", "")
        if self._names is not None and _name(host) not in self._names:
            return 403, "this page answers under this machine's own address alone"
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return 403, "requests from pages of other sites are refused"
        if "chunked" in headers.get("transfer-encoding", ""):
            return 411, "a request has to say how long it is"
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self._limit:
            return 413, f"more than {self._limit - _ROOM} bytes are refused"
        return None


def _name(host: str) -> str:
    return (urlsplit(f"//{host}").hostname or "") if host else ""
