"""The web server around the page."""

from __future__ import annotations

import asyncio
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path

import gradio as gr
import uvicorn
from fastapi import FastAPI
from gradio.utils import get_upload_folder
from starlette.types import ASGIApp

from serve.app import api
from serve.app.connections import BoundedProtocol, allow_connections, say_once
from serve.app.demo import Demo
from serve.app.downloads import add_downloads, described, write_downloads
from serve.app.hosts import Hosts
from serve.app.login import Login
from serve.app.middleware import RequestFilter
from serve.app.page import page, script
from serve.app.theme import CSS, theme
from serve.app.uploads.cleanup import cleaning
from serve.app.uploads.limits import Limits
from serve.app.uploads.store import UploadStore
from serve.classifier import Classifier

ICON = Path(__file__).with_name("favicon.svg")
SESSIONS = 100  # visitors whose state Gradio keeps; its default of 10,000 would take 400 MB
EVENTS = 512  # that Gradio runs at once: they wait in our own queues, where clients take turns
POLL_SECONDS = 0.1  # of Gradio's queue for new events; its default of 1 ms always takes 6 to 9% of a core
PROGRESS_SECONDS = 2.0  # the same for progress bars, which we do not use; its default of 10 ms takes 2.6% of a core
GRACE = 3  # seconds for running requests to finish when the server stops


@dataclass(frozen=True)
class Access:
    """Who may use the page, and how it is addressed.

    Attributes:
        auth: name and password of all visitors; None for no login.
        root_path: path under which a proxy serves the page, with a leading slash; empty without a proxy.
        allowed_hosts: names of the proxy.
        downloads: whether visitors may download the model.
    """

    auth: tuple[str, str] | None = None
    root_path: str = ""
    allowed_hosts: tuple[str, ...] = ()
    downloads: bool = True


def application(classifier: Classifier, limits: Limits, access: Access, host: str, port: int) -> ASGIApp:
    """The page and the API, behind the request filter."""
    app = FastAPI(title="Image classifier", docs_url=None, redoc_url=None, lifespan=cleaning)
    demo = Demo(classifier, limits)
    api.add_routes(app, demo, UploadStore(Path(get_upload_folder()), limits))
    login = Login(*access.auth, port, access.root_path) if access.auth else None
    if login is not None:
        login.add_routes(app)
    files = write_downloads(classifier, Path(tempfile.gettempdir()) / "downloads") if access.downloads else {}
    add_downloads(app, files)
    blocks = page(demo, described(files))
    # Without this, a mounted app lets clients name any file on this machine (gradio 6.31, _check_allowed).
    blocks.has_launched = True
    blocks.state_session_capacity = SESSIONS
    blocks._queue.max_thread_count = EVENTS
    blocks._queue.sleep_when_free = POLL_SECONDS
    blocks._queue.progress_update_sleep_when_free = PROGRESS_SECONDS
    blocks._queue.ANALYTICS_MAX_EVENTS = 0  # else each request computes statistics of the last 10,000, with pandas
    gr.mount_gradio_app(
        app,
        blocks,
        path="/",
        server_port=port,
        root_path=access.root_path or None,
        show_error=False,
        max_file_size=limits.bytes,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        enable_monitoring=False,
        run_history=False,
        footer_links=[],
        theme=theme(),
        css_paths=CSS,
        head=script(limits),
        favicon_path=str(ICON),
    )
    return RequestFilter(app, limits.bytes, Hosts(host, access.allowed_hosts), access.root_path, login)


class Server(uvicorn.Server):
    """Closes connections after GRACE seconds: an open page never ends its own, and uvicorn would print a traceback."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen; report a failure to accept connections only once."""
        asyncio.get_running_loop().set_exception_handler(say_once)
        await super().startup(sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let running requests finish, for GRACE seconds at most."""
        asyncio.get_running_loop().call_later(GRACE, self.hang_up)
        await super().shutdown(sockets)

    def hang_up(self) -> None:
        """Close every connection; its request ends as if the visitor had left."""
        for connection in list(self.server_state.connections):
            connection.transport.close()


def serve(classifier: Classifier, limits: Limits, access: Access, listening: socket.socket) -> None:
    """Serve until SIGINT or SIGTERM, then let running requests finish; uvicorn raises the signal again at the end."""
    host, port = listening.getsockname()[:2]
    app = application(classifier, limits, access, host, port)
    BoundedProtocol.limit = allow_connections()
    # Errors only: with a warning for each request that is not HTTP, anybody could fill the log.
    config = uvicorn.Config(
        app,
        log_level="error",
        http=BoundedProtocol,
        ws="none",
        server_header=False,
        # Without a proxy, a client could claim other addresses here, and so get many shares.
        proxy_headers=bool(access.root_path or access.allowed_hosts),
    )
    address = f"[{host}]" if ":" in host else host
    print(f"serving {classifier.folder} at http://{address}:{port}{access.root_path}", flush=True)
    Server(config).run(sockets=[listening])
