"""The README's pictures of the demo: python tests/serve/screenshots.py --model runs/.../model --to docs/images."""

from __future__ import annotations

import argparse
import io
import tempfile
from pathlib import Path
from typing import Any

from browser import chromium, visit  # run as a script, beside it
from demo_server import running
from PIL import Image
from playwright.sync_api import sync_playwright

TALLEST = 1800  # pixels of a picture: the rest of the card is about the origin of the model
DESKTOP, PHONE = {"width": 1120, "height": 900}, {"width": 390, "height": 844}
EXAMPLES = {"light": 1, "dark": 3, "phone": 1}  # of the gallery: one that is certain, and one that may not be


def main() -> None:
    """Take them all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--to", type=Path, required=True)
    options = parser.parse_args()
    options.to.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as temporary,
        running(options.model, Path(temporary)) as server,
        sync_playwright() as playwright,
        chromium(playwright) as browser,
    ):
        for name, scheme, size in (("light", "light", DESKTOP), ("dark", "dark", DESKTOP), ("phone", "light", PHONE)):
            with visit(browser, server.url, color_scheme=scheme, viewport=size) as seen:
                shoot(seen.page, options.to, name)


def shoot(page: Any, folder: Path, name: str) -> None:
    """An answer with its overlay, then the model card."""
    page.locator("#examples button.gallery-item, #examples button.thumbnail-item").nth(EXAMPLES[name]).click()
    page.locator("#verdict .bars").wait_for()
    page.locator("#explain").click()
    page.locator("#heat img").wait_for()
    save(page, folder / f"demo-{name}.webp")
    page.get_by_role("tab", name="Model card").click()
    page.locator(".card h2").first.wait_for()
    save(page, folder / f"card-{name}.webp")


def save(page: Any, file: Path) -> None:
    """The page from its top; pictures and fonts have come when the network is idle."""
    page.wait_for_load_state("networkidle")
    page.mouse.move(0, 0)
    with Image.open(io.BytesIO(page.screenshot(full_page=True, animations="disabled"))) as image:
        shown = image.crop((0, 0, image.width, min(image.height, TALLEST)))
        shown.convert("RGB").save(file, quality=80, method=6)
    print(f"{file}: {file.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
