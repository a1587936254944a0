"""The page in a real browser."""

from __future__ import annotations

import importlib.util
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import CHROMIUM, MISSING, Visit, chromium, visit
from demo_server import Server, running
from gradio_api import PATIENCE_S
from PIL import Image
from small_artifact import CLASSES, HOSTILE_NAME, stored_images

from lightning_app.results.examples import as_png
from serve.classifier import Classifier

pytestmark = [
    pytest.mark.browser,
    pytest.mark.xdist_group("demo"),  # one server for all
    pytest.mark.skipif(CHROMIUM is None or importlib.util.find_spec("playwright") is None, reason=MISSING),
]
DESKTOP, PHONE = {"width": 1120, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def playwright() -> Iterator[Any]:
    """For this module alone: its event loop would be in the way of other tests' own."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="module")
def browser(playwright: Any) -> Iterator[Any]:
    """One browser; each visit has its own context in it, with nothing kept from the others."""
    with chromium(playwright) as browser:
        yield browser


@pytest.fixture
def seen(server: Server, browser: Any) -> Iterator[Visit]:
    """A visit to the page, which has to stay with this server and without an error."""
    with visit(browser, server.url) as seen:
        yield seen
    assert seen.requests
    assert seen.elsewhere(server.url) == []
    assert seen.complaints == []


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A file to upload."""
    (tmp_path / "picture.png").write_bytes(as_png(stored_images(3)[2]))
    return tmp_path / "picture.png"


def labels(seen: Visit) -> list[str]:
    """The classes that the page names, when it has answered."""
    seen.page.locator("#verdict .bars li").first.wait_for()
    return seen.page.locator("#verdict .bars .name").all_inner_texts()


def expected_labels(artifact: Path, place: int) -> list[str]:
    """The three likeliest classes of a stored image."""
    return [name for name, _ in Classifier(artifact).prediction(stored_images(4)[place]).ranked(3)]


def test_an_uploaded_picture_gets_three_labels_and_the_other_tab_the_card(
    seen: Visit, picture: Path, artifact: Path
) -> None:
    seen.page.locator("#picture input[type=file]").set_input_files(picture)
    assert labels(seen) == expected_labels(artifact, 2)
    assert seen.page.locator("#verdict .answer").inner_text() == expected_labels(artifact, 2)[0]
    assert "Uncertain" in seen.page.locator("#verdict .chip").inner_text()  # random weights are never that sure
    assert "This model knows only 5 classes" in seen.page.locator("#verdict .time").inner_text()

    seen.page.get_by_role("tab", name="Model card").click()
    seen.page.locator(".card .confusion").wait_for()
    assert seen.page.locator(".card .confusion td").count() == len(CLASSES) ** 2
    assert seen.page.locator(".card svg").count() == 2
    assert "toys-0123" in seen.page.locator(".card .facts").inner_text()


def test_an_example_that_is_clicked_is_classified_as_it_is_stored(seen: Visit, artifact: Path) -> None:
    seen.page.locator("#examples .thumbnail-item").nth(1).click()
    assert labels(seen) == expected_labels(artifact, 1)


def test_grad_cam_comes_on_demand_and_goes_with_the_next_picture(seen: Visit, picture: Path) -> None:
    explain = seen.page.locator("#explain")
    assert explain.is_disabled()
    seen.page.locator("#picture input[type=file]").set_input_files(picture)
    labels(seen)
    explain.click()
    seen.page.locator("#heat img").wait_for()
    seen.page.locator("#examples .thumbnail-item").first.click()
    seen.page.locator("#heat img").wait_for(state="detached")


def test_a_pasted_picture_is_classified(seen: Visit, artifact: Path) -> None:
    seen.page.evaluate(
        """async bytes => {
            const blob = new Blob([new Uint8Array(bytes)], {type: "image/png"});
            await navigator.clipboard.write([new ClipboardItem({"image/png": blob})]);
        }""",
        list(as_png(stored_images(4)[3])),
    )
    seen.page.locator("#picture [aria-label='Paste from clipboard']").click()
    assert labels(seen) == expected_labels(artifact, 3)


def test_a_picture_from_the_webcam_is_classified(seen: Visit) -> None:
    seen.page.locator("#picture [aria-label='Capture from camera']").click()
    seen.page.locator("#picture").get_by_text("Click to Access Webcam").click()
    seen.page.wait_for_function("document.querySelector('#picture video')?.videoWidth > 0")
    seen.page.locator("#picture [aria-label='capture photo']").click()
    assert len(labels(seen)) == 3


def test_what_is_no_picture_is_refused_in_words(seen: Visit, tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(b"<svg/>")
    seen.page.locator("#picture input[type=file]").set_input_files(tmp_path / "picture.png")
    seen.page.locator("#verdict .refused").wait_for()
    assert "This is not a PNG, JPEG, WebP or BMP picture" in seen.page.locator("#verdict").inner_text()
    seen.complaints.clear()  # the preview of a file that is gone


def test_class_names_are_text_and_nothing_else(seen: Visit) -> None:
    seen.page.get_by_role("tab", name="Model card").click()
    seen.page.locator(".card .confusion").wait_for()
    assert HOSTILE_NAME in seen.page.locator(".card .confusion").inner_text()
    assert seen.page.title() == "toys image classifier"
    assert seen.page.locator("img[src=x]").count() == 0


def test_the_map_lies_over_the_visitors_own_picture(seen: Visit, tmp_path: Path) -> None:
    Image.effect_noise((300, 200), 60).save(tmp_path / "wide.png")
    seen.page.locator("#picture input[type=file]").set_input_files(tmp_path / "wide.png")
    labels(seen)
    seen.page.locator("#explain").click()
    seen.page.wait_for_function("document.querySelector('#heat img')?.naturalWidth > 0")
    size = "[document.querySelector('#heat img').naturalWidth, document.querySelector('#heat img').naturalHeight]"
    assert seen.page.evaluate(size) == [300, 200]
    assert "4 x 4 cells" in seen.page.locator("#legend").inner_text()


def test_the_width_stays_whatever_is_shown(seen: Visit, picture: Path) -> None:
    def widths() -> list[float]:
        return [
            round(seen.page.locator(each).bounding_box()["width"]) for each in ("#picture", "#verdict", ".headline")
        ]

    empty = widths()
    seen.page.locator("#picture input[type=file]").set_input_files(picture)
    labels(seen)
    assert widths() == empty
    seen.page.get_by_role("tab", name="Model card").click()
    seen.page.locator(".card").wait_for()
    assert round(seen.page.locator(".headline").bounding_box()["width"]) == empty[2]


def test_tabs_are_in_the_address_and_follow_the_arrow_keys(seen: Visit) -> None:
    def selected() -> str:
        return seen.page.locator("[role=tab][aria-selected=true]").inner_text()

    seen.page.get_by_role("tab", name="Model card").click()
    assert seen.page.url.endswith("#model-card")
    seen.page.reload()
    seen.page.locator(".card").wait_for()
    assert selected() == "Model card"
    seen.page.get_by_role("tab", name="Model card").focus()
    seen.page.keyboard.press("ArrowRight")  # round to the first
    assert (selected(), seen.page.url.rpartition("#")[2]) == ("Try it", "try-it")
    seen.page.go_back()
    seen.page.locator(".card").wait_for()
    assert selected() == "Model card"


def test_what_is_pasted_with_the_keyboard_is_classified_also_in_place_of_another(seen: Visit, artifact: Path) -> None:
    paste = """([bytes, type]) => {
        const data = new DataTransfer();
        if (bytes) data.items.add(new File([new Uint8Array(bytes)], "pasted", {type}));
        document.body.dispatchEvent(new ClipboardEvent("paste", {clipboardData: data, bubbles: true}));
    }"""
    for place in (3, 1):
        seen.page.evaluate(paste, [list(as_png(stored_images(4)[place])), "image/png"])
        seen.page.get_by_role("status").get_by_text(expected_labels(artifact, place)[0]).first.wait_for()
        assert labels(seen) == expected_labels(artifact, place)
    seen.page.evaluate(paste, [None, ""])
    assert "The clipboard holds no picture" in seen.page.locator("#notice").inner_text()


def test_a_file_that_is_too_large_is_refused_with_the_limit(seen: Visit, tmp_path: Path) -> None:
    (tmp_path / "large.png").write_bytes(bytes(20_000_001))
    seen.page.locator("#picture input[type=file]").set_input_files(tmp_path / "large.png")
    assert seen.page.locator("#notice").inner_text() == "The file is 20.0 MB; at most 20 MB are accepted."


def test_clear_empties_the_page(seen: Visit, picture: Path) -> None:
    seen.page.locator("#picture input[type=file]").set_input_files(picture)
    labels(seen)
    seen.page.locator("#clear").click()
    seen.page.locator("#verdict .waiting").wait_for()
    seen.page.locator("#picture input[type=file]").wait_for(state="attached")


def test_after_a_restart_of_the_server_the_page_recovers(artifact: Path, tmp_path: Path, browser: Any) -> None:
    with running(artifact, tmp_path) as first, visit(browser, first.url) as seen:
        seen.page.locator("#examples .thumbnail-item").nth(1).click()
        assert labels(seen) == expected_labels(artifact, 1)
        first.process.send_signal(signal.SIGTERM)
        first.process.wait(timeout=PATIENCE_S)
        seen.page.locator("#explain").click()  # only now does the page see that nobody is there
        seen.page.get_by_text("Connection to the server was lost").wait_for()
        seen.complaints.clear()
        with running(artifact, tmp_path, "--port", first.url.rpartition(":")[2]):
            seen.page.locator("#verdict .waiting").wait_for()  # it has loaded itself again
            seen.page.locator("#examples .thumbnail-item").nth(3).click()
            assert labels(seen) == expected_labels(artifact, 3)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_answer_map_and_card_fit_the_screen_in_the_visitors_colours(
    screen: dict[str, int], scheme: str, server: Server, browser: Any
) -> None:
    def fits() -> bool:
        return seen.page.evaluate("document.documentElement.scrollWidth") <= screen["width"]

    def is_legible(selector: str) -> bool:
        """Dark on light, or light on dark: by the mean of red, green and blue, which are not far apart here."""
        color = seen.page.locator(selector).first.evaluate("element => getComputedStyle(element).color")
        return (sum(map(float, re.findall(r"[\d.]+", color)[:3])) / 3 < 128) is (scheme == "light")

    with visit(browser, server.url, color_scheme=scheme, viewport=screen, is_mobile=screen is PHONE) as seen:
        seen.page.locator("#examples .thumbnail-item").nth(2).click()
        labels(seen)
        assert (fits(), is_legible("#verdict .answer"), is_legible(".headline h1")) == (True, True, True)
        seen.page.locator("#explain").click()
        seen.page.wait_for_function("document.querySelector('#heat img')?.naturalWidth > 0")
        assert (fits(), is_legible("#legend .legend")) == (True, True)
        assert seen.page.locator("#heat img").bounding_box()["width"] > 250  # of a picture of 24 pixels
        parts = ("#picture", "#verdict", "#actions", "#heat", "#examples")
        tops = [seen.page.locator(part).bounding_box()["y"] for part in parts]
        assert screen is DESKTOP or tops == sorted(tops)  # on a phone, one below the other
        seen.page.get_by_role("tab", name="Model card").click()
        seen.page.locator(".card .confusion").wait_for()
        assert (fits(), is_legible(".card h2"), is_legible(".card .confusion th[scope=row]")) == (True, True, True)


def test_pictures_have_alternative_texts(seen: Visit, picture: Path) -> None:
    example = seen.page.locator("#examples .thumbnail-item")
    example.nth(3).wait_for()
    assert [example.nth(place).get_attribute("aria-label") for place in (0, 1)] == [
        "Test image: cat, predicted correctly",
        "Test image: cat, predicted as dog",
    ]
    assert example.nth(1).locator("img").get_attribute("alt") == "cat, predicted as dog"
    seen.page.locator("#picture input[type=file]").set_input_files(picture)
    labels(seen)
    seen.page.locator("#explain").click()
    seen.page.locator("#heat img[alt='Grad-CAM map over the picture']").wait_for()
    seen.page.locator("#picture img[alt='the picture to classify']").wait_for()


def test_an_iphone_is_asked_for_the_formats_that_are_accepted_so_that_it_converts_its_own(seen: Visit) -> None:
    seen.page.locator("#picture input[type=file]").wait_for(state="attached")
    accepted = seen.page.locator("#picture input[type=file]").get_attribute("accept")
    assert accepted == "image/png,image/jpeg,image/webp,image/bmp"


def test_a_heic_picture_is_refused_with_how_to_send_a_jpeg(seen: Visit, tmp_path: Path) -> None:
    (tmp_path / "phone.jpg").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    seen.page.locator("#picture input[type=file]").set_input_files(tmp_path / "phone.jpg")
    seen.page.locator("#verdict .refused").wait_for()
    assert "This is a HEIC picture. Send a JPEG: on an iPhone" in seen.page.locator("#verdict").inner_text()
    seen.complaints.clear()  # the preview of a file that is gone


@pytest.mark.parametrize(
    ("camera", "said"),
    [("refused", "The browser does not let this page use the camera."), ("missing", "The browser found no camera.")],
)
def test_a_camera_that_is_refused_or_missing_is_told_in_words(
    camera: str, said: str, server: Server, playwright: Any
) -> None:
    with (
        chromium(playwright, camera) as browser,
        visit(browser, server.url, camera_allowed=camera != "refused") as seen,
    ):
        ask_for_the_camera(seen)
        seen.page.locator("#notice").get_by_text(said).wait_for()


def test_where_browsers_give_no_page_a_camera_the_reason_is_told(server: Server, playwright: Any) -> None:
    name = socket.gethostname()  # a page by plain http from anything but this machine, as far as the browser knows
    with (
        chromium(playwright, "test card", f"--host-resolver-rules=MAP {name} 127.0.0.1") as browser,
        visit(browser, server.url.replace("127.0.0.1", name)) as seen,
    ):
        ask_for_the_camera(seen)
        seen.page.locator("#notice").get_by_text("Browsers allow the camera only on https pages").wait_for()


def ask_for_the_camera(seen: Visit) -> None:
    """The two clicks that a visitor makes."""
    seen.page.locator("#picture [aria-label='Capture from camera']").click()
    seen.page.locator("#picture").get_by_text("Click to Access Webcam").click()
