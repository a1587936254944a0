"""The whole application in this process: what clients are told, and what it looks like behind a proxy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from gradio.queueing import Queue
from gradio_api import Refused, result
from small_artifact import CLASSES, stored_images
from starlette.testclient import TestClient

from lightning_app.results.examples import as_png
from serve.app.server import Access, application
from serve.app.uploads.limits import Limits
from serve.classifier import Classifier

PREFIX = "/node/n1/7860"


@pytest.fixture(scope="module")
def http(artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A client of it, by torch alone, below a prefix that its proxy keeps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("uploads")))
        app = application(Classifier(artifact), Limits(), Access(root_path=PREFIX), "127.0.0.1", 7860)
        with TestClient(app, base_url="http://127.0.0.1:7860") as client:
            yield client


def classify(http: TestClient, data: list) -> dict:
    """What Gradio's endpoint answers."""
    asked = http.post(f"{PREFIX}/gradio_api/call/classify", json={"data": data}).json()
    return result(http.get(f"{PREFIX}/gradio_api/call/classify/{asked['event_id']}").text)


META = {"meta": {"_type": "gradio.FileData"}}


@pytest.mark.parametrize(
    "sent",
    [
        "/etc/hostname",
        5,
        {"url": 5},
        {"path": "/etc/hostname", **META},
        {"path": "/etc/hostname"},
        {"path": "", "url": "/etc/hostname", **META},
        {"path": "", "url": "data:image/png;base64,iVBORw0KGgo=", **META},
        {"path": "", "url": "http://127.0.0.1:9/picture.png", **META},
        {"path": "zero\0byte", **META},
        {"path": "long" * 2000, **META},
        {"path": "/etc/hostname", "size": "many", **META},
    ],
    ids=[
        *("text", "a number", "a url alone", "a path of the server", "without meta", "a path as url", "a data url"),
        *("a web address", "a zero byte", "a long path", "a size in words"),
    ],
)
def test_what_is_no_upload_is_refused_with_what_to_send(
    sent: object, http: TestClient, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Refused, match=r"Only uploaded pictures are accepted.*handle_file\("):
        classify(http, [sent])
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("wrong", [{"size": "many", **META}, {"meta": 5}])
def test_an_upload_with_wrong_fields_is_refused(
    wrong: dict, http: TestClient, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Refused, match="Only uploaded pictures are accepted"):
        classify(http, [{"path": uploaded(http), **wrong}])
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("place", ["{0}.gone", "{0}/below", "{0}/.."], ids=["gone", "below a file", "above a file"])
def test_a_place_in_the_upload_folder_that_is_no_file_is_refused(
    place: str, http: TestClient, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Refused, match=r"The picture was deleted: uploads are kept only for minutes\. Choose it again"):
        classify(http, [{"path": place.format(uploaded(http)), **META}])
    assert "Traceback" not in capfd.readouterr().err


def uploaded(http: TestClient) -> str:
    """The path of a picture that was sent."""
    [path] = http.post(f"{PREFIX}/gradio_api/upload", files={"files": as_png(stored_images(1)[0])}).json()
    return path


def test_too_few_inputs_are_told_to_the_client(http: TestClient, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Refused, match="didn't receive enough input values"):
        classify(http, [])
    assert "Traceback" not in capfd.readouterr().err


def test_behind_a_prefix_page_upload_and_answer_are_there(http: TestClient) -> None:
    assert f"http://127.0.0.1:7860{PREFIX}" in http.get(f"{PREFIX}/").text
    path = uploaded(http)
    elsewhere = "http://127.0.0.1:9/picture.png"  # nobody asks there
    assert classify(http, [{"path": path, "url": elsewhere, **META}])["label"] in CLASSES
    assert http.get(f"{PREFIX}/gradio_api/file={path}").headers["content-type"] == "image/png"
    assert http.get(f"{PREFIX}/health").json() == http.get("/health").json()  # kept or taken away by the proxy
    assert http.get(f"{PREFIX}x/health").status_code == 404


def test_no_statistics_are_computed_of_requests(http: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[object] = []
    monkeypatch.setattr(Queue, "_get_df", staticmethod(computed.append))
    assert classify(http, [{"path": uploaded(http), **META}])["label"] in CLASSES
    assert classify(http, [{"path": uploaded(http), **META}])["label"] in CLASSES  # the first is over by now
    assert computed == []


def test_the_page_has_an_icon_of_its_own_and_answers_to_reconnection(http: TestClient) -> None:
    assert http.get("/favicon.ico").headers["content-type"] == "image/svg+xml"
    assert set(http.get("/gradio_api/app_id").json()) == {"app_id"}
