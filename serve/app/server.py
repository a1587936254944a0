"""The web server around the page."""

from __future__ import annotations

import asyncio
import socket

import gradio as gr
import uvicorn
from fastapi import FastAPI

from serve.app.middleware import RequestFilter
from serve.app.page import Demo, page
from serve.app.theme import CSS, theme
from serve.app.uploads.cleanup import cleaning
from serve.app.uploads.pictures import Limits
from serve.classifier import Classifier

SESSIONS = 100  # visitors of whom Gradio remembers what was shown; its own 10,000 would take 400 MB
GRACE = 3  # seconds for requests under way when the server is told to stop


def application(classifier: Classifier, limits: Limits, auth: tuple[str, str] | None, port: int) -> RequestFilter:
    """Page, health endpoint and guard."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=cleaning)

    @app.get("/health")
    def health() -> dict[str, object]:
        return {"status": "ok", "backbone": classifier.card["backbone"], "classes": len(classifier.classes)}

    blocks = page(Demo(classifier, limits))
    # Without this a mounted app lets clients name any file of this machine (gradio 6.31, _check_allowed).
    blocks.has_launched = True
    blocks.state_session_capacity = SESSIONS
    gr.mount_gradio_app(
        app,
        blocks,
        path="/",
        server_port=port,
        auth=auth,
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
    )
    return RequestFilter(app, limits.bytes)


class Server(uvicorn.Server):
    """Hangs up when the time is over: an open page listens for ever, and uvicorn's own way out prints a traceback."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let what is under way finish, then go."""
        asyncio.get_running_loop().call_later(GRACE, self.hang_up)
        await super().shutdown(sockets)

    def hang_up(self) -> None:
        """Close every connection; its request sees that as the visitor's leaving."""
        for connection in list(self.server_state.connections):
            connection.transport.close()


def serve(classifier: Classifier, limits: Limits, auth: tuple[str, str] | None, listening: socket.socket) -> None:
    """Answer until SIGINT or SIGTERM, then finish what is under way; uvicorn raises the signal again at the end."""
    host, port = listening.getsockname()[:2]
    app = application(classifier, limits, auth, port)
    config = uvicorn.Config(app, log_level="warning")
    address = f"[{host}]" if ":" in host else host
    print(f"serving {classifier.folder} at http://{address}:{port}", flush=True)
    Server(config).run(sockets=[listening])
