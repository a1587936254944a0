"""The demo on a shared machine: what it answers, what it refuses, and that it goes without a trace."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest
from demo_server import REPOSITORY, Server, running, starting
from gradio_api import PATIENCE_S, Api, Refused, client
from PIL import Image
from small_artifact import CLASSES, INPUT, STORED, stored_images

from lightning_app.errors import UsageError
from lightning_app.results.examples import as_png
from serve.app.sockets import listen
from serve.classifier import Classifier

SECRET = "what nobody shall read"
THREADS = 60  # asyncio's, gradio's 40 at most, the network's; not one for each request
pytestmark = pytest.mark.xdist_group("demo")  # one server for all


@pytest.fixture
def api(server: Server) -> Api:
    """A client of the demo."""
    return Api(server.url)


@pytest.fixture(scope="module")
def http(server: Server) -> httpx.Client:
    """The same, without Gradio's protocol."""
    return client(server.url)


def test_what_is_served_is_what_the_classifier_says(api: Api, artifact: Path) -> None:
    model = Classifier(artifact)
    for stored in stored_images(4):
        answer = api.classify(as_png(stored))
        expected = model.prediction(stored)
        assert answer["label"] == expected.label
        assert answer["uncertain"] is expected.uncertain
        assert list(answer["probabilities"]) == CLASSES
        np.testing.assert_allclose(
            list(answer["probabilities"].values()), list(expected.probabilities.values()), atol=1e-4
        )
        assert answer["milliseconds"] > 0


def test_gradio_client_works_in_five_lines(server: Server, tmp_path: Path) -> None:
    [code] = re.findall(r"^    from gradio_client import .*(?:\n    .+)+", (REPOSITORY / "README.md").read_text(), re.M)
    assert len(code.splitlines()) <= 5
    (tmp_path / "cat.jpg").write_bytes(as_png(stored_images(1)[0]))
    code = "\n".join(line[4:] for line in code.splitlines()).replace("http://127.0.0.1:7860", server.url)
    found = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert found.stdout.split()[-1].replace(".", "").isdigit(), found.stdout


def test_health_says_what_is_served(http: httpx.Client) -> None:
    assert http.get("/health").json() == {"status": "ok", "backbone": "mobilenet_v2", "classes": len(CLASSES)}


def test_the_browser_may_go_nowhere_else(http: httpx.Client) -> None:
    policy = http.get("/").headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "http" not in policy


@pytest.mark.parametrize("place", ["path", "url"])
def test_a_file_of_the_machine_cannot_be_named_instead_of_an_upload(place: str, api: Api, tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    Image.new("RGB", (STORED, STORED)).save(secret)
    with pytest.raises(Refused):
        api.call(
            "classify", {"path": str(secret), "url": None} if place == "path" else {"path": "", "url": str(secret)}
        )


def test_an_upload_cannot_be_named_by_a_way_out_of_its_folder(api: Api, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(as_png(stored_images(1)[0]))
    uploaded = Path(api.upload(as_png(stored_images(1)[0])))
    way = "/".join([".."] * (len(uploaded.parts) - 2))
    with pytest.raises(Refused):
        api.call("classify", {"path": f"{uploaded.parent}/{way}{tmp_path}/secret.png"})


def test_the_server_fetches_nothing_from_an_address(api: Api) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/picture.png"
        with pytest.raises(Refused, match="Only uploaded pictures"):
            api.call("classify", {"path": url, "url": url})
        assert api.http.get(f"/file={url}").status_code == 404
        listening.setblocking(False)
        with pytest.raises(BlockingIOError):
            listening.accept()


def test_a_picture_inside_an_address_is_not_decoded(api: Api) -> None:
    with pytest.raises(Refused):
        api.call("classify", {"path": "", "url": "data:image/png;base64,iVBORw0KGgo="})


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=../../../../etc/passwd",
        "/gradio_api/file=%2e%2e/%2e%2e/etc/passwd",
        "/gradio_api/file=pyproject.toml",
        "/static/..%2f..%2f..%2fetc/passwd",
        "/assets/../../../../../../etc/passwd",
        "/gradio_api/deep_link",
        "/gradio_api/process_recording",
        "/gradio_api/proxy=http://example.org",
        "/gradio_api/vibe-code",
        "/gradio_api/component_server",
        "/monitoring",
        "/docs",
    ],
)
def test_no_other_route_or_file_is_to_be_had(path: str, http: httpx.Client) -> None:
    assert http.get(path).status_code in (403, 404)
    assert http.post(path).status_code in (403, 404, 405)


def test_the_artifact_itself_cannot_be_read(http: httpx.Client, artifact: Path) -> None:
    for name in ("model.json", "weights.safetensors"):
        assert http.get(f"/gradio_api/file={artifact / name}").status_code == 403


def test_an_upload_that_is_too_large_is_refused_and_not_kept(server: Server, http: httpx.Client) -> None:
    before = set(server.files())

    def body():  # type: ignore[no-untyped-def]  # its length is not declared
        yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
        for _ in range(25):
            yield bytes(1_000_000)

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    assert http.post("/gradio_api/upload", content=body(), headers=headers).status_code == 413
    assert http.post("/gradio_api/upload", files={"files": bytes(25_000_000)}).status_code == 413
    # What had come of it is swept away when nothing more comes, for a minute; it is no upload that could be named.
    assert [path for path in set(server.files()) - before if not path.name.startswith("tmp")] == []


def test_a_large_body_is_refused_wherever_it_is_sent(http: httpx.Client) -> None:
    answer = http.post("/gradio_api/queue/join", content=bytes(100_000))  # nothing but a picture needs so much
    assert (answer.status_code, answer.json()) == (413, {"detail": "At most 0.064 MB are taken."})


def test_the_number_of_threads_is_bounded(server: Server, api: Api) -> None:
    for _ in range(10):
        api.classify(as_png(stored_images(1)[0]))
    assert server.threads() <= THREADS


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_when_asked_and_takes_its_files_along(number: signal.Signals, artifact: Path, tmp_path: Path) -> None:
    with running(artifact, tmp_path) as server:
        api = Api(server.url)
        api.classify(as_png(stored_images(1)[0]))
        assert server.files()
        with api.http.stream("GET", "/heartbeat/somebody"):  # a page that is still open
            server.process.send_signal(number)
            assert server.process.wait(timeout=PATIENCE_S) == 0
        with pytest.raises(httpx.ConnectError):
            client(server.url).get("/health")
        assert "Traceback" not in server.said()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_ends_in_order_while_it_starts_too(number: signal.Signals, artifact: Path, tmp_path: Path) -> None:
    with starting(artifact, tmp_path) as server:
        server.wait_until_it_says("starting")
        assert list(tmp_path.iterdir())
        server.process.send_signal(number)
        assert server.process.wait(timeout=PATIENCE_S) == 0
        assert "Traceback" not in server.said()
    assert list(tmp_path.iterdir()) == []


def test_listening_to_everybody_without_a_password_is_warned_of(artifact: Path, tmp_path: Path) -> None:
    with starting(artifact, tmp_path, "--host", "0.0.0.0") as server:
        server.wait_until_it_says("starting")
        assert "anybody who can reach 0.0.0.0 can use this page; --user asks for a password" in server.said()


def test_with_a_user_nothing_is_to_be_had_without_the_password(artifact: Path, tmp_path: Path) -> None:
    with running(artifact, tmp_path, "--user", "visitor", SERVE_PASSWORD="open sesame") as server:
        http = client(server.url)
        assert http.post("/gradio_api/upload", files={"files": b"x"}).status_code == 401
        assert "open sesame" not in http.get("/").text
        assert http.post("/login", data={"username": "visitor", "password": "guess"}).status_code == 400
        assert http.post("/login", data={"username": "visitor", "password": "open sesame"}).status_code == 200
        assert http.post("/gradio_api/upload", files={"files": b"x"}).status_code == 200
        assert client(server.url).get("/health").status_code == 200


def start(*options: str) -> subprocess.CompletedProcess[str]:
    """Start a demo that will not start."""
    command = [sys.executable, "-m", "serve", *options]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=PATIENCE_S)


def test_a_user_without_a_password_is_an_error(artifact: Path) -> None:
    process = start("--model", str(artifact), "--user", "visitor")
    assert (process.returncode, process.stderr) == (2, "error: --user visitor needs a password; set SERVE_PASSWORD.\n")


def test_a_port_that_is_taken_is_an_error(artifact: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = start("--model", str(artifact), "--port", str(port))
    assert process.returncode == 2
    assert (
        process.stderr == f"error: cannot listen on 127.0.0.1:{port} (Address already in use); choose another --port.\n"
    )


def test_a_port_is_held_before_the_page_is_there() -> None:
    with listen("127.0.0.1", 0) as held, pytest.raises(UsageError, match="Address already in use"):
        listen("127.0.0.1", held.getsockname()[1])


def test_a_model_that_is_nowhere_is_an_error(tmp_path: Path) -> None:
    process = start("--model", str(tmp_path / "nowhere"))
    assert process.returncode == 2
    assert process.stderr.splitlines()[-1].startswith(f"error: no model artifact at {tmp_path}/nowhere")


def test_the_input_is_larger_than_what_is_stored() -> None:
    assert INPUT > STORED  # so that the tests above include the resampling
