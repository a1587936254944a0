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
SESSIONS = 100  # visitors of whom Gradio remembers what was shown; its own 10,000 would take 400 MB
EVENTS = 512  # that Gradio hands on at once: they wait in our own queues, where clients take turns
POLL_SECONDS = 0.1  # of Gradio's queue for new events; its own 1 ms keeps 6 to 9% of a core busy for ever
PROGRESS_SECONDS = 2.0  # the same for progress bars, of which there are none here; its own 10 ms cost 2.6% of a core
GRACE = 3  # seconds for requests under way when the server is told to stop


@dataclass(frozen=True)
class Access:
    """Who reaches the page, and how.

    Attributes:
        auth: name and password of all visitors, if they need them.
        root_path: prefix under which a proxy shows the page, beginning with a slash; or nothing.
        allowed_hosts: names of the proxy.
        downloads: whether visitors may take the model along.
    """

    auth: tuple[str, str] | None = None
    root_path: str = ""
    allowed_hosts: tuple[str, ...] = ()
    downloads: bool = True


def application(classifier: Classifier, limits: Limits, access: Access, host: str, port: int) -> ASGIApp:
    """Page, API and what guards them."""
    app = FastAPI(title="Image classifier", docs_url=None, redoc_url=None, lifespan=cleaning)
    demo = Demo(classifier, limits)
    api.add_routes(app, demo, UploadStore(Path(get_upload_folder()), limits))
    login = Login(*access.auth, port, access.root_path) if access.auth else None
    if login is not None:
        login.add_routes(app)
    files = write_downloads(classifier, Path(tempfile.gettempdir()) / "downloads") if access.downloads else {}
    add_downloads(app, files)
    blocks = page(demo, described(files))
    # Without this a mounted app lets clients name any file of this machine (gradio 6.31, _check_allowed).
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
    """Hangs up when the time is over: an open page listens for ever, and uvicorn's own way out prints a traceback."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen; errors of that are reported once."""
        asyncio.get_running_loop().set_exception_handler(say_once)
        await super().startup(sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let what is under way finish, then go."""
        asyncio.get_running_loop().call_later(GRACE, self.hang_up)
        await super().shutdown(sockets)

    def hang_up(self) -> None:
        """Close every connection; its request sees that as the visitor's leaving."""
        for connection in list(self.server_state.connections):
            connection.transport.close()


def serve(classifier: Classifier, limits: Limits, access: Access, listening: socket.socket) -> None:
    """Answer until SIGINT or SIGTERM, then finish what is under way; uvicorn raises the signal again at the end."""
    host, port = listening.getsockname()[:2]
    app = application(classifier, limits, access, host, port)
    BoundedProtocol.limit = allow_connections()
    # Errors alone: a warning for each request that is no HTTP would let anybody fill the log.
    config = uvicorn.Config(
        app,
        log_level="error",
        http=BoundedProtocol,
        ws="none",
        server_header=False,
        # Else any local client could name another address, and so have many shares.
        proxy_headers=bool(access.root_path or access.allowed_hosts),
    )
    address = f"[{host}]" if ":" in host else host
    print(f"serving {classifier.folder} at http://{address}:{port}{access.root_path}", flush=True)
    Server(config).run(sockets=[listening])
