"""Users' mistakes: one message each, with what was found, what was expected and how to fix it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file
from small_artifact import write_artifact
from torchvision import models

from lightning_app.__main__ import main
from lightning_app.errors import UserError
from lightning_app.trainer.machine import Machine
from models.artifact import SCHEMA
from serve.__main__ import main as serve

Program = Callable[..., subprocess.CompletedProcess[str]]
CLASSES = ("cat", "dog", "owl")
IMAGES = 8  # a class and split
TRAIN = len(CLASSES) * IMAGES - 3  # of each class, one is held out for validation
NOWHERE = "http://127.0.0.1:9"  # a proxy where nobody listens


class Mistake(NamedTuple):
    """A command line that is wrong, and its message."""

    name: str
    args: str
    found: str
    expected: str
    mend: str


FIT = [
    Mistake(
        "missing data", "--data.root nowhere", "no data at nowhere", "a directory or an archive (.zip", "set data.root"
    ),
    Mistake("truncated zip", "--data.root cut.zip", "cut.zip is damaged", "incomplete", "download or create it again"),
    Mistake("truncated tar", "--data.root cut.tar", "cut.tar is damaged", "incomplete", "download or create it again"),
    Mistake("empty class", "--data.root empty", "no images in train/fox/", "ending in .jpg", "remove the empty class"),
    Mistake("one class", "--data.root one", "only one class in one: cat", "needs two or more", "Add a folder"),
    Mistake("other classes", "--data.root differ", "only one has cow, owl", "the same in both", "Add what is"),
    Mistake(
        "no image",
        "--data.root text",
        "train/cat/0.png: not an image",
        "not an image in a supported format",
        "data.on_bad_image: skip",
    ),
    Mistake("weights", "--model.weights other.safetensors", "other.safetensors does not fit", "missing", "backbone"),
    Mistake("no weights", "--model.weights gone.pth", "no weights at gone.pth", "imagenet, none, or", ".safetensors"),
    Mistake("backbone", "--model.backbone mobilenet2", "unknown backbone mobilenet2", "did you mean", "mobilenet_v2"),
    Mistake("strategy", "--trainer.strategy tpu", "trainer.strategy is tpu", "one of auto, cpu, gpu, ddp", "--help"),
    Mistake("gpu", "--trainer.strategy gpu", "found no GPU", "PyTorch can use", "Use --trainer.strategy cpu"),
    Mistake(
        "more sides than epochs",
        "--data.image_size [24,24,32]",
        "data.image_size lists 3 epochs, but trainer.max_epochs is 1",
        "evaluated at 32 pixels",
        "Give --data.image_size one side, or a list of 1",
    ),
    Mistake(
        "monitor without validation",
        "--data.val_fraction 0 --trainer.callbacks EarlyStopping --trainer.callbacks.monitor val/loss",
        "EarlyStopping's monitor is val/loss",
        "no validation images",
        "set data.val_fraction",
    ),
    Mistake(
        "plateau without validation",
        "--trainer.check_val_every_n_epoch 2 --model.lr_scheduler torch.optim.lr_scheduler.ReduceLROnPlateau",
        "the monitor of model.lr_scheduler is val/loss",
        "needed after every epoch",
        "leave that out, or use lightning.pytorch.cli.ReduceLROnPlateau with the monitor train/loss.",
    ),
    Mistake(
        "plateau's monitor",
        "--model.lr_scheduler lightning.pytorch.cli.ReduceLROnPlateau --model.lr_scheduler.monitor val_loss",
        "the monitor of model.lr_scheduler is val_loss",
        "expected one of train/loss, val/acc",
        "did you mean val/loss?",
    ),
    Mistake(
        "short name of two classes",
        "--model.lr_scheduler ReduceLROnPlateau",
        "model.lr_scheduler is ReduceLROnPlateau",
        "expected one of torch.optim.lr_scheduler.ReduceLROnPlateau, lightning.pytorch.cli.ReduceLROnPlateau.",
        "--help",
    ),
    Mistake("null", "--model.optimizer null", "model.optimizer is null", "expected a class path.", "--help"),
    Mistake(
        "logger", "--trainer.logger Foo", "trainer.logger is Foo", "expected a class path or a list or true", "--help"
    ),
    Mistake("no optimizer", "--model.optimizer Foo", "model.optimizer is Foo", "expected a class path.", "--help"),
    Mistake("batch of none", "--data.batch_size 0", "data.batch_size is 0", "expected", "1 or more"),
    Mistake(
        "batch beyond the data", "--data.batch_size 999", "is 999", f"{TRAIN} training images", f"to {TRAIN} or less"
    ),
    Mistake(
        "batch below the ranks",
        "--data.batch_size 1 --trainer.strategy ddp --trainer.devices 2",
        "data.batch_size is 1",
        "2 ranks share each batch",
        "set it to 4 or more",
    ),
    Mistake(
        "one image a rank",
        "--data.batch_size 2 --trainer.strategy ddp --trainer.devices 2",
        f"{TRAIN} training images in batches of 2 over 2 ranks leave 1",
        "more than 1 value per channel",
        "Choose a data.batch_size that leaves 2",
    ),
    Mistake(
        "one image in the last batch", f"--data.batch_size {TRAIN - 1}", "leave 1", "the last batch", "leaves 2 or more"
    ),
    Mistake(
        "image size", "--model.backbone vit_b_16", "of 32 pixels", "Expected 224", "choose another data.image_size"
    ),
    Mistake("misspelt option", "--data.batchsize 3", "no option data.batchsize", "data.batch_size?", "fit --help"),
    Mistake("misspelt key", "--config misspelt.yaml", "no option trainer.max_epoch", "did you mean", "max_epochs?"),
    Mistake("a word for a number", "--data.batch_size many", "data.batch_size is many", "a whole number", "--help"),
    Mistake("optimizer", "--model.optimizer torch.optim.Adamm", "cannot be created", "no attribute 'Adamm'", "--help"),
    Mistake("no config", "--config configs/quikstart.yaml", "no config at", "did you mean", "configs/quickstart.yaml"),
    Mistake("tab", "--config tab.yaml", "tab.yaml, line 2, column 1: a tab", "with spaces", "`option: value`"),
    Mistake("unclosed", "--config unclosed.yaml", "unclosed.yaml, line 2", "expected ',' or '}'", "`option: value`"),
    Mistake(
        "no table", "--config list.yaml", "list.yaml has a list in it", "options by name", "configs/quickstart.yaml"
    ),
    Mistake("augmentation", "--data.augment.flip 2", "data.augment.flip is 2", "a probability", "between 0 and 1"),
    Mistake("runs in a file", "--runs_dir file", "cannot write runs to file/", "Not a directory", "set --runs_dir"),
    Mistake("cache in a file", "--data.cache_dir file", "cannot write to file", "exists", "set data.cache_dir"),
    Mistake("runs read-only", "--runs_dir read_only", "cannot write runs to read_only", "(", "set --runs_dir to"),
    Mistake("cache read-only", "--data.cache_dir read_only", "cannot write to read_only", "(", "set data.cache_dir"),
    Mistake(
        "no network for weights",
        "--model.weights imagenet",
        "cannot download the ImageNet weights",
        "prepare",
        "Or fetch",
    ),
    Mistake(
        "no network for data",
        "--data.dataset cifar10 --data.root c --data.stored_size null",
        "CIFAR-10 is not in c",
        "prepare",
        "Or fetch",
    ),
]
ARTIFACT = [
    Mistake(
        "label a checkpoint", "label good --model best.ckpt", "best.ckpt is a file", "model.json", "version>/model"
    ),
    Mistake("label a newer schema", "label good --model newer", f"has schema {SCHEMA + 1}", "up to", "update"),
    Mistake("export nothing", "export --model gone --to x", "no model artifact at gone", "model.json", ".../model"),
    Mistake("label nothing", "label gone --model newer", "there is no gone", "an image", "or a .zip"),
    Mistake("serve a checkpoint", "serve --model best.ckpt", "best.ckpt is a file", "model.json", "version>/model"),
    Mistake("serve a newer schema", "serve --model newer", f"has schema {SCHEMA + 1}", "up to", "update"),
    Mistake("serve no run", "serve --latest", "no trained model", "below runs", "train one with make fit"),
    Mistake("taken port", "serve --model artifact --port {port}", "cannot listen on", "in use", "another --port"),
]
UNREADABLE = "gone.json is not a results.json", "the file that a comparison leaves", "Copy it again"
MEASURING = [
    Mistake("comparison in a file", "compare --modes cpu --to file", "--to file cannot be", "exists", "choose another"),
    Mistake("comparison read-only", "compare --modes cpu --to read_only", "--to read_only cannot", "(", "another"),
    Mistake("merge nothing", "compare --modes cpu --merge gone.json", *UNREADABLE),
    Mistake("bench into nothing", "bench --json no/b.json", "--json no/b.json cannot be", "No such", "choose another"),
    Mistake("bench onto a folder", "bench --json good", "--json good cannot be", "Is a directory", "choose another"),
    Mistake("bench read-only", "bench --json read_only/b.json", "read_only/b.json cannot be", "(", "choose another"),
    Mistake("no rounds", "bench --rounds 0", "--rounds is 0", "1 or more", "leave it out"),
    Mistake("no steps", "bench --steps 0", "--steps is 0", "1 or more", "leave it out"),
]


@pytest.fixture(scope="module")
def mistaken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that is wrong, and with what would be right."""
    root = tmp_path_factory.mktemp("mistaken")
    for name in ("good", "empty", "one", "differ", "text"):
        class_folders(root / name, CLASSES[:1] if name == "one" else CLASSES)
    (root / "empty/train/fox").mkdir()
    (root / "differ/test/owl").rename(root / "differ/test/cow")
    (root / "text/train/cat/0.png").write_text("I am no image")
    for kind in ("zip", "tar"):
        whole = Path(shutil.make_archive(str(root / "whole"), kind, root / "good")).read_bytes()
        (root / f"cut.{kind}").write_bytes(whole[: len(whole) // 2])
    (root / "misspelt.yaml").write_text("trainer: {max_epoch: 1}\n")
    (root / "tab.yaml").write_text("trainer:\n\tmax_epochs: 1\n")
    (root / "unclosed.yaml").write_text("trainer: {max_epochs: 1\n")
    (root / "list.yaml").write_text("- 1\n- 2\n")
    for name in ("file", "best.ckpt"):
        (root / name).touch()
    save_file(models.get_model("squeezenet1_1", weights=None).state_dict(), root / "other.safetensors")
    write_artifact(root / "artifact")
    shutil.copytree(root / "artifact", root / "newer")
    card = json.loads((root / "newer/model.json").read_text())
    (root / "newer/model.json").write_text(json.dumps(card | {"schema": SCHEMA + 1}))
    return root


def class_folders(root: Path, classes: tuple[str, ...]) -> None:
    """Images of noise as <split>/<class>/<number>.png."""
    pixels = np.random.default_rng(0).integers(0, 256, (IMAGES, 8, 8, 3), dtype=np.uint8)
    for split in ("train", "test"):
        for label in classes:
            (root / split / label).mkdir(parents=True)
            for number, image in enumerate(pixels):
                Image.fromarray(image).save(root / f"{split}/{label}/{number}.png")


@pytest.fixture
def here(mistaken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with all of it by name, without a network or a GPU."""
    folder = tmp_path / "here"
    folder.mkdir()
    for path in mistaken.iterdir():
        (folder / path.name).symlink_to(path)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("https_proxy", NOWHERE)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("lightning_app.trainer.trainer.this_machine", lambda: Machine(cores=2, cpu_bf16=False))
    return folder


@pytest.fixture
def _process_as_it_was_before_the_demo() -> Iterator[None]:
    """The demo sets a temporary folder and its own way of exiting."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    yield
    tempfile.tempdir = None
    for number, handler in handlers.items():
        signal.signal(number, handler)


def fit_options(mistake: str) -> list[str]:
    """A fit that would be right except for the mistake, and would take a second."""
    right = {
        "--config": "configs/image_folder.yaml",
        "--data.root": "good",
        "--data.cache_dir": "cache",
        "--data.batch_size": "8",
        "--data.image_size": "32",
        "--data.stored_size": "8",
        "--model.backbone": "shufflenet_v2_x0_5",
        "--model.weights": "none",
        "--trainer.strategy": "cpu",
        "--trainer.precision": "32-true",
        "--trainer.max_epochs": "1",
    }
    return ["fit", *(word for option in right.items() for word in option), *mistake.split()]


def files_below(folder: Path) -> set[str]:
    """The files there, except complete caches, the locks of incomplete ones, and empty folders."""
    found = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"}
    return {str(path) for path in found if not (folder / path).with_name("meta.json").exists()}


def check_message(code: int, said: str, mistake: Mistake) -> None:
    """One error, without a traceback, that says everything necessary."""
    assert code == 2
    assert [line for line in said.splitlines() if line.startswith(("error: ", "Traceback"))][1:] == []
    message = said[said.index("error: ") :]
    told = mistake.found, mistake.expected, mistake.mend
    assert all(told)
    assert [words for words in told if words not in message] == [], message


@pytest.mark.parametrize("mistake", FIT, ids=lambda mistake: mistake.name)
def test_a_mistake_in_a_fit_is_one_message_and_leaves_nothing(
    mistake: Mistake, here: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    if "read_only" in mistake.args:
        (here / "read_only").symlink_to(request.getfixturevalue("read_only"))
    before = files_below(here)
    code = main(fit_options(mistake.args))
    check_message(code, capsys.readouterr().err, mistake)
    assert files_below(here) == before


def test_without_a_mistake_it_is_a_fit(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(fit_options("")) == 0
    assert (here / "runs/image_folder/version_0/model/model.json").exists()
    said = capsys.readouterr().err
    assert "log_every_n_steps: 3 instead of 10 (an epoch has no more steps)" in said
    assert "warn" not in said.lower()


@pytest.mark.usefixtures("_process_as_it_was_before_the_demo")
@pytest.mark.parametrize("mistake", ARTIFACT, ids=lambda mistake: mistake.name)
def test_a_mistake_about_an_artifact_is_one_message_and_leaves_nothing(
    mistake: Mistake, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files_below(here)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        verb, *options = mistake.args.format(port=taken.getsockname()[1]).split()
        code = serve(options) if verb == "serve" else main([verb, *options])
    check_message(code, capsys.readouterr().err, mistake)
    assert files_below(here) == before


@pytest.mark.usefixtures("_process_as_it_was_before_the_demo")
@pytest.mark.parametrize("mistake", MEASURING, ids=lambda mistake: mistake.name)
def test_a_mistake_in_what_measures_is_one_message_before_anything_runs(
    mistake: Mistake,
    here: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if "read_only" in mistake.args:
        (here / "read_only").symlink_to(request.getfixturevalue("read_only"))
    before = files_below(here)
    with monkeypatch.context() as patched:
        patched.setattr(subprocess, "run", lambda *args, **options: pytest.fail("too late"))
        code = main(mistake.args.split())
    check_message(code, capsys.readouterr().err, mistake)
    assert files_below(here) == before


@pytest.mark.usefixtures("_process_as_it_was_before_the_demo")
@pytest.mark.parametrize(
    "args",
    [
        ["serve", "--model", "best.ckpt"],
        ["label", "good", "--model", "newer"],
        fit_options("--data.root nowhere"),
        fit_options("--data.batchsize 3"),
        fit_options("--config tab.yaml"),
        fit_options("--model.backbone mobilenet2"),
    ],
    ids=["serve", "label", "data", "option", "config", "model"],
)
def test_under_debug_a_mistake_shows_where_it_was_found(args: list[str], here: Path) -> None:
    with pytest.raises(UserError):
        serve([*args[1:], "--debug"]) if args[0] == "serve" else main([*args, "--debug"])


def test_a_full_disk_while_packing_is_one_message_and_leaves_nothing(
    here: Path, mount: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    disk = mount("size=64k")
    # 48 images of 3 x 64 x 64 bytes
    code = main(fit_options(f"--data.cache_dir {disk} --data.stored_size 64"))
    full = Mistake("", "", f"cannot write the packed cache to {disk}", "it needs 1 MB", "Free some space, or set")
    check_message(code, capsys.readouterr().err, full)
    assert files_below(disk) == set()


def test_a_mistake_is_told_alike_in_a_process_of_its_own(here: Path, program: Program) -> None:
    cut = next(mistake for mistake in FIT if mistake.name == "truncated zip")
    process = program(*fit_options(cut.args), cwd=here)
    check_message(process.returncode, process.stderr, cut)
    debugged = program(*fit_options(cut.args), "--debug", cwd=here)
    assert debugged.stderr.count("DataError: cut.zip is damaged") == 1
    assert "Traceback" in debugged.stderr


def test_a_port_of_ones_own_that_is_taken_is_one_message(here: Path, program: Program) -> None:
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "lightning_app", *fit_options("--trainer.strategy ddp --trainer.devices 2")]
        environment = os.environ | {"MASTER_PORT": str(port), "PYTHONPATH": str(Path(__file__).parents[3])}
        process = subprocess.run(command, env=environment, capture_output=True, text=True)
    said = Mistake("", "", f"MASTER_PORT is {port}", "which is taken on", "leave it unset")
    check_message(process.returncode, process.stderr, said)
    assert files_below(here / "runs") == set()
