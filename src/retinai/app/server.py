"""Starting and ending the page's server."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from retinai.app.quick_gradio import without_stub_files
from retinai.app.security import Guard, Password
from retinai.app.service import Service
from retinai.errors import UserError
from retinai.log import logger


def make_server_app(service: Service, host: str, language: str, password: Password | None) -> Any:
    """Return the ASGI application: page, REST and what guards both.

    Args:
        service: Grades the uploads.
        host: The address that the page is bound to.
        language: What the page begins with.
        password: What users give; None asks for none.

    Raises:
        MissingExtraError: If Gradio is not installed.
    """
    with without_stub_files():
        import gradio as gr

    from retinai.app.page import Page
    from retinai.app.rendering import stylesheet
    from retinai.app.rest_api import make_api

    api = make_api(service, password)
    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"])  # none from elsewhere
    gr.mount_gradio_app(
        api, Page(service, language, password is not None).build(), path="/", server_name=host, theme=theme,
        css=stylesheet(), auth=None if password is None else password.accepts, max_file_size=service.max_bytes,
        footer_links=[], run_history=False, ssr_mode=False, pwa=False, mcp_server=False, enable_monitoring=False,
        show_error=True,
    )  # fmt: skip
    return Guard(api, host, service.max_bytes)


@contextmanager
def bound(host: str, port: int) -> Iterator[socket.socket]:
    """Yield a socket that is bound to an address.

    Raises:
        UserError: If the port is taken, or there is no such address here.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind((host, port))
        except OSError as error:
            why = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
            raise UserError(
                f"host={host} port={port} cannot be used ({why.lower()}); choose another port=, "
                "or 0 for one that is free"
            ) from error
        yield taken


@contextmanager
def private_uploads() -> Iterator[Path]:
    """Yield a folder of this process alone in which Gradio puts uploads, removed with all that is in it."""
    folder = Path(tempfile.mkdtemp(prefix="retinai-app-"))
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def serve(app: Any, taken: socket.socket) -> None:
    """Answer requests until Ctrl-C or SIGTERM.

    Args:
        app: Of `make_server_app`.
        taken: A bound socket.
    """
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            name, port = taken.getsockname()[:2]
            shown = f"[{name}]" if ":" in name else name
            logger.info(f"the page is at http://{shown}:{port} (Ctrl-C ends it)")

    config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="on", timeout_graceful_shutdown=5)
    Server(config).run(sockets=[taken])
