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
    # A picture of a test card in place of a camera.
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
]


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
def visit(url: str, **options: Any) -> Iterator[Visit]:
    """Open a page; options are those of Playwright's new_context: color_scheme, viewport, is_mobile."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS, timeout=PATIENCE_MS)
        try:
            page = browser.new_context(
                permissions=["camera", "clipboard-read", "clipboard-write"], **options
            ).new_page()
            page.set_default_timeout(PATIENCE_MS)
            seen = Visit(page)
            page.on("request", lambda request: seen.requests.append(request.url))
            page.on("console", lambda said: seen.complaints.append(said.text) if said.type == "error" else None)
            page.goto(url)
            page.get_by_role("tab", name="Model card").wait_for()
            yield seen
        finally:
            browser.close()
