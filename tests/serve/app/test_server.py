"""The demo on a shared machine: what it answers, what it refuses, and that it goes without a trace."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import httpx
import numpy as np
import onnxruntime
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
    assert (answer.status_code, answer.json()) == (413, {"detail": "At most 0.064 MB are accepted."})


def test_the_number_of_threads_is_bounded(server: Server, api: Api) -> None:
    for _ in range(10):
        api.classify(as_png(stored_images(1)[0]))
    assert server.threads() <= THREADS


@pytest.mark.slow
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
        assert "anybody who can reach 0.0.0.0 can use this page; add --user to require a password" in server.said()


@pytest.mark.slow
def test_with_a_user_nothing_is_to_be_had_without_the_password(artifact: Path, tmp_path: Path) -> None:
    with running(artifact, tmp_path, "--user", "visitor", SERVE_PASSWORD="open sesame") as server:
        http, other = client(server.url), client(server.url)
        for method, path in (
            ("POST", "/gradio_api/upload"),
            ("POST", "/classify"),
            ("POST", "/gradio_api/cancel"),
            ("GET", "/gradio_api/heartbeat/a"),
            ("GET", "/config"),
        ):
            assert http.request(method, path).status_code == 401
        assert http.get("/").headers["location"] == "/login"
        page = http.get("/login").text
        assert "<title>Log in" in page
        assert "open sesame" not in page
        assert http.post("/login", data={"username": "visitor", "password": "guess"}).status_code == 400
        server.wait_until_it_says("wrong name or password from 127.0.0.1 (name 'visitor')")
        for each in (http, other):
            assert each.post("/login", data={"username": "visitor", "password": "open sesame"}).status_code == 200
            assert each.post("/gradio_api/upload", files={"files": b"x"}).status_code == 200
            # Browsers share cookies between the ports of a host: another demo there must not end this session.
            assert list(each.cookies) == [f"serve-session-{httpx.URL(server.url).port}"]
        assert other.get("/logout").status_code == 405  # an image on a foreign page could ask for it
        assert other.post("/logout").headers["location"] == "/login"
        assert other.post("/gradio_api/upload", files={"files": b"x"}).status_code == 401
        assert http.post("/gradio_api/upload", files={"files": b"x"}).status_code == 200
        assert client(server.url).get("/health").status_code == 200
        picture = {"file": as_png(stored_images(1)[0])}
        assert client(server.url).post("/classify", files=picture, auth=("visitor", "open sesame")).status_code == 200


def test_the_model_can_be_taken_along_without_its_test_images(http: httpx.Client, artifact: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(http.get("/download/artifact.zip").content)) as archive:
        assert sorted(archive.namelist()) == ["README.md", "model.json", "weights.safetensors"]
        assert "examples" not in json.loads(archive.read("model.json"))
        assert archive.read("weights.safetensors") == (artifact / "weights.safetensors").read_bytes()
    session = onnxruntime.InferenceSession(http.get("/download/model.onnx").content)
    [found] = session.run(None, {"images": stored_images(2)})
    np.testing.assert_allclose(found, Classifier(artifact).probabilities(stored_images(2)), atol=1e-4)
    assert http.get("/download/model.json").status_code == 404


NGINX = """\
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error;
events {{}}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{
    listen 127.0.0.1:{port};
    location / {{ return 404; }}  # in place of the welcome page of nginx's package
    location {prefix}/ {{
      proxy_pass {url}; proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For $remote_addr;
      proxy_buffering off;
    }}
  }}
}}
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("nginx") is None, reason="no nginx here; apt-get install nginx-light")
def test_behind_a_proxy_that_keeps_a_prefix_page_and_api_work(artifact: Path, tmp_path: Path) -> None:
    prefix = "/node/n1/7860"
    (tmp_path / "uploads").mkdir()
    with running(artifact, tmp_path / "uploads", "--root_path", prefix) as server:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        url = server.url.removesuffix(prefix)
        (tmp_path / "nginx.conf").write_text(NGINX.format(folder=tmp_path, port=port, prefix=prefix, url=url))
        proxy = subprocess.Popen(["nginx", "-c", str(tmp_path / "nginx.conf"), "-e", str(tmp_path / "error")])
        try:
            http = client(f"http://127.0.0.1:{port}{prefix}")
            wait_until_it_listens(port)
            page = http.get("/").text
            assert f"http://127.0.0.1:{port}{prefix}" in page  # its root, which the page asks below
            assets = re.findall(r'(?:src|href)="([^"]*assets/[^"]+)"', page)
            assert assets
            assert http.get(httpx.URL(f"http://127.0.0.1:{port}{prefix}/").join(assets[0])).status_code == 200
            stored = stored_images(1)[0]
            label = Classifier(artifact).prediction(stored).label
            assert Api(f"http://127.0.0.1:{port}{prefix}").classify(as_png(stored))["label"] == label
            assert http.post("/classify", files={"file": as_png(stored)}).json()["label"] == label
            assert client(f"http://127.0.0.1:{port}").get("/").status_code == 404
        finally:
            proxy.terminate()
            proxy.wait(timeout=PATIENCE_S)


def wait_until_it_listens(port: int) -> None:
    """Try until a connection is accepted."""
    for _ in range(1000):
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.02)
    raise AssertionError(f"nobody listens on {port}")


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
        process.stderr
        == f"error: cannot listen on 127.0.0.1:{port} (Address already in use); choose another --port or --host.\n"
    )


def test_a_port_is_held_before_the_page_is_there() -> None:
    with listen("127.0.0.1", 0) as held, pytest.raises(UsageError, match="Address already in use"):
        listen("127.0.0.1", held.getsockname()[1])


@pytest.mark.slow
def test_a_model_that_is_nowhere_is_an_error(tmp_path: Path) -> None:
    process = start("--model", str(tmp_path / "nowhere"))
    assert process.returncode == 2
    assert process.stderr.splitlines()[-1].startswith(f"error: no model artifact at {tmp_path}/nowhere")


def test_the_input_is_larger_than_what_is_stored() -> None:
    assert INPUT > STORED  # so that the tests above include the resampling


def test_one_post_answers_in_json_and_says_what_is_wrong(server: Server, http: httpx.Client, artifact: Path) -> None:
    model, stored = Classifier(artifact), stored_images(3)[2]
    answer = http.post("/classify", files={"file": ("cat.png", as_png(stored))}).json()
    expected = model.prediction(stored)
    assert (answer["label"], answer["uncertain"]) == (expected.label, expected.uncertain)
    assert [each["label"] for each in answer["top"]] == [name for name, _ in expected.ranked(3)]
    assert answer["confidence"] == answer["top"][0]["probability"] == pytest.approx(expected.confidence, abs=1e-4)
    assert list(http.get("/openapi.json").json()["paths"]) == ["/health", "/classify"]
    two = http.post("/classify", files=[("file", b"x"), ("file", b"y")])
    assert (two.status_code, two.json()["detail"][:38]) == (400, "Send one picture as a form: curl -F fi")
    svg = http.post("/classify", files={"file": b"<svg/>"})
    assert svg.status_code == 422
    assert svg.json() == {"detail": "This is not a PNG, JPEG, WebP or BMP picture, whatever its name says."}
    assert http.post("/classify", files={"file": bytes(20_000_001)}).status_code == 413
    assert http.post("/classify").status_code == 400


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (["/etc/hostname"], "Only uploaded pictures are accepted"),
        ([5], "Only uploaded pictures are accepted"),
        ([{"url": 5}], "Only uploaded pictures are accepted"),
        ([], "didn't receive enough input values"),
    ],
)
def test_a_call_that_sends_no_upload_is_told_so_and_leaves_no_traceback(
    data: list, said: str, server: Server, http: httpx.Client
) -> None:
    asked = http.post("/gradio_api/call/classify", json={"data": data}).json()
    assert said in http.get(f"/gradio_api/call/classify/{asked['event_id']}").text
    assert "Traceback" not in server.said()


def test_an_endpoint_that_is_none_is_named_with_the_one_that_is(server: Server, http: httpx.Client) -> None:
    answer = http.post("/gradio_api/call/predict", json={"data": []})
    assert (answer.status_code, answer.json()["detail"]) == (
        404,
        "There is no such endpoint; expected api_name=/classify.",
    )
    assert "Traceback" not in server.said()


def test_names_that_are_not_ours_and_pages_from_elsewhere_are_refused(http: httpx.Client) -> None:
    assert http.get("/health", headers={"Host": "evil.example:7860"}).status_code == 403  # DNS rebinding
    assert http.get("/health", headers={"Host": "localhost:7860"}).status_code == 200
    picture = {"file": as_png(stored_images(1)[0])}
    for origin, code in (("http://evil.example", 403), ("null", 403), (str(http.base_url).rstrip("/"), 200)):
        assert http.post("/classify", files=picture, headers={"Origin": origin}).status_code == code


def is_closed(connection: socket.socket) -> bool:
    """Wait until the server has closed a connection; with bytes that it has not read, that is a reset."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def test_connections_that_say_half_of_something_keep_nobody_out(server: Server) -> None:
    url = httpx.URL(server.url)
    held = []
    try:
        for _ in range(600):  # more than one address may have
            held.append(socket.create_connection((url.host, url.port), timeout=PATIENCE_S))
            held[-1].sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-A: b")
        assert client(server.url).get("/health").status_code == 200
        assert all(map(is_closed, held[:50]))  # the oldest went first, the others by the timeout
    finally:
        for each in held:
            each.close()
    assert len(server.said()) < 10_000
