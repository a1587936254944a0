"""A real browser: Debian's Chromium, driven by Playwright, with nothing but our server within its reach."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
MISSING = "no Chromium here; apt-get install chromium, pip install playwright"
PATIENCE_MS = 120_000  # on a busy machine
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
CAMERAS = {
    "test card": ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"],
    "refused": ["--deny-permission-prompts", "--use-fake-device-for-media-stream"],
    "missing": ["--use-fake-ui-for-media-stream"],
}


@dataclass
class Visit:
    """A page and what it asked for.

    Attributes:
        page: Playwright's.
        requests: the address of every request, to whomever.
        complaints: errors that the page wrote to its console.
    """

    page: Any
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def elsewhere(self, url: str) -> list[str]:
        """Requests to anybody but this server."""
        return [asked for asked in self.requests if not asked.startswith((url, "data:", "blob:"))]


@contextmanager
def chromium(playwright: Any, camera: str = "test card", *flags: str) -> Iterator[Any]:
    """The browser; to start it takes seconds, so several visits may share one. CAMERAS has what stands for a camera."""
    arguments = [*FLAGS, *CAMERAS[camera], *flags]
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments, timeout=PATIENCE_MS)
    try:
        yield browser
    finally:
        browser.close()


@contextmanager
def visit(browser: Any, url: str, camera_allowed: bool = True, **options: Any) -> Iterator[Visit]:
    """Open a page as a new visitor.

    Args:
        browser: from chromium().
        url: of the page.
        camera_allowed: without asking.
        options: Playwright's for new_context: color_scheme, viewport, is_mobile.
    """
    permissions = ["clipboard-read", "clipboard-write", *(["camera"] if camera_allowed else [])]
    context = browser.new_context(permissions=permissions, **options)
    try:
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        seen = Visit(page)
        page.on("request", lambda request: seen.requests.append(request.url))
        page.on("console", lambda said: seen.complaints.append(said.text) if said.type == "error" else None)
        page.goto(url)
        page.get_by_role("tab", name="Model card").wait_for()
        yield seen
    finally:
        context.close()
