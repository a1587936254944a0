"""The web server around the page."""

from __future__ import annotations

import signal
import socket
import sys
from types import FrameType

import gradio as gr
import uvicorn
from fastapi import FastAPI

from serve.classifier import Classifier
from serve.guard import Guard
from serve.look import CSS, theme
from serve.page import Demo, page
from serve.pictures import Limits
from serve.sweep import sweeping

SESSIONS = 100  # visitors of whom Gradio remembers what was shown; its own 10,000 would take 400 MB
GRACE = 3  # seconds for requests under way when the server is told to stop


def application(classifier: Classifier, limits: Limits, auth: tuple[str, str] | None, port: int) -> Guard:
    """Page, health endpoint and guard."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=sweeping)

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
    return Guard(app, limits.bytes)


def serve(classifier: Classifier, limits: Limits, auth: tuple[str, str] | None, listening: socket.socket) -> None:
    """Answer until SIGINT or SIGTERM, then finish what is under way and return."""
    host, port = listening.getsockname()[:2]
    app = application(classifier, limits, auth, port)
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=GRACE)
    # uvicorn raises the signal again when it is done; the default action would skip our clean-up.
    signal.signal(signal.SIGTERM, stop)
    address = f"[{host}]" if ":" in host else host
    print(f"serving {classifier.folder} at http://{address}:{port}", flush=True)
    try:
        uvicorn.Server(config).run(sockets=[listening])
    except KeyboardInterrupt:
        print(file=sys.stderr)


def stop(number: int, frame: FrameType | None) -> None:
    """End this process, cleaning up on the way."""
    sys.exit(0)
