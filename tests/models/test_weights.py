"""Weights come from files and from torchvision; what does not fit is refused with names and shapes."""

from __future__ import annotations

import os
import pickle
import socket
from pathlib import Path
from typing import Any

import filelock
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision import models
from torchvision.models import EfficientNet_V2_L_Weights, MobileNet_V2_Weights

from models.artifact import save_artifact
from models.backbones import build_backbone
from models.errors import ModelError
from models.normalized_network import IMAGENET_MEAN, IMAGENET_STD, Network
from models.weights import load_weights, read_pretrained

SHARED_WEIGHTS = Path(__file__).parents[3] / "shared/weights/mobilenet_v2_imagenet.safetensors"


@pytest.fixture(scope="module")
def trained() -> dict[str, Tensor]:
    """The state of a MobileNetV2 for 7 classes with its own numbers."""
    torch.manual_seed(1)
    state = build_backbone("mobilenet_v2", 7).state_dict()
    return {name: torch.rand_like(t) if t.is_floating_point() else t + 5 for name, t in state.items()}


def load(network: nn.Module, backbone: str, weights: str | Path) -> str:
    """Read weights and load them into a network; returns the log line."""
    return load_weights(network, read_pretrained(backbone, str(weights)))


def save(state: Any, path: Path) -> Path:
    """Write a state in the format of the path's ending."""
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    return path


@pytest.mark.parametrize("file", ["weights.safetensors", "weights.pth"])
def test_a_file_gives_back_every_tensor(file: str, trained: dict[str, Tensor], tmp_path: Path) -> None:
    network = build_backbone("mobilenet_v2", 7)
    path = save(trained, tmp_path / file)
    assert load(network, "mobilenet_v2", str(path)) == f"weights: {path}"
    state = network.state_dict()
    assert state.keys() == trained.keys()
    assert [name for name in state if not torch.equal(state[name], trained[name])] == []


def test_a_classifier_of_another_size_is_replaced_and_that_is_said(trained: dict[str, Tensor], tmp_path: Path) -> None:
    network = build_backbone("mobilenet_v2", 3)
    fresh = {name: network.state_dict()[name].clone() for name in ("classifier.1.weight", "classifier.1.bias")}
    path = save(trained, tmp_path / "weights.safetensors")
    said = load(network, "mobilenet_v2", str(path))
    assert said == f"weights: {path}; its classifier for 7 classes is replaced with one for 3"
    expected = trained | fresh
    assert [name for name, tensor in network.state_dict().items() if not torch.equal(tensor, expected[name])] == []


def test_weights_of_another_network_are_refused_with_names_and_shapes(tmp_path: Path) -> None:
    path = save(build_backbone("resnet18", 10).state_dict(), tmp_path / "resnet18.safetensors")
    network = build_backbone("resnet34", 10)
    with pytest.raises(ModelError) as caught:
        load(network, "resnet34", str(path))
    message = str(caught.value)
    assert "layer1.2.bn1.bias (64,) is missing" in message
    assert "and 91 more" in message  # 96 tensors are missing, 5 of them are named
    assert message.endswith("Set model.backbone to the network that the weights are for.")


def test_a_tensor_of_another_shape_is_named_with_both_shapes(trained: dict[str, Tensor], tmp_path: Path) -> None:
    wrong = trained | {"features.0.0.weight": torch.zeros(32, 1, 3, 3)}
    path = save(wrong, tmp_path / "weights.safetensors")
    with pytest.raises(ModelError, match=r"features\.0\.0\.weight is \(32, 1, 3, 3\), expected \(32, 3, 3, 3\)\. Set"):
        load(build_backbone("mobilenet_v2", 7), "mobilenet_v2", str(path))


def test_a_tensor_too_many_is_named(trained: dict[str, Tensor], tmp_path: Path) -> None:
    path = save(trained | {"extra": torch.zeros(2)}, tmp_path / "weights.safetensors")
    with pytest.raises(ModelError, match=r"extra \(2,\) is unexpected"):
        load(build_backbone("mobilenet_v2", 7), "mobilenet_v2", str(path))


def test_weights_that_do_not_fit_leave_the_network_as_it_was(trained: dict[str, Tensor], tmp_path: Path) -> None:
    network = build_backbone("mobilenet_v2", 7)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    path = save(trained | {"extra": torch.zeros(2)}, tmp_path / "weights.safetensors")
    with pytest.raises(ModelError):
        load(network, "mobilenet_v2", str(path))
    assert [name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])] == []


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no weights at .*/nowhere\.pth: expected imagenet, none, or the path"):
        load(build_backbone("resnet18", 2), "resnet18", str(tmp_path / "nowhere.pth"))


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("plain_pickle", [False, True])
def test_code_in_a_pth_file_is_refused_and_never_runs(plain_pickle: bool, tmp_path: Path) -> None:
    path, marker = tmp_path / "hostile.pth", tmp_path / "it-ran"
    if plain_pickle:
        path.write_bytes(pickle.dumps({"weight": Payload(marker)}, protocol=2))
    else:
        torch.save({"weight": Payload(marker)}, path)
    with pytest.raises(ModelError, match=r"cannot read weights from .*hostile\.pth"):
        load(build_backbone("resnet18", 2), "resnet18", str(path))
    assert not marker.exists()


def test_a_truncated_safetensors_file_is_refused(trained: dict[str, Tensor], tmp_path: Path) -> None:
    path = save(trained, tmp_path / "weights.safetensors")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ModelError, match=r"cannot read weights from .*weights\.safetensors"):
        load(build_backbone("mobilenet_v2", 7), "mobilenet_v2", str(path))


def test_a_checkpoint_is_no_state_dict(trained: dict[str, Tensor], tmp_path: Path) -> None:
    path = save({"state_dict": trained, "epoch": 3}, tmp_path / "last.pth")
    with pytest.raises(ModelError, match=r"is not a state_dict .*expected one, an artifact \(runs/<name>/"):
        load(build_backbone("mobilenet_v2", 7), "mobilenet_v2", str(path))


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torchvision's cache is empty, and its server is a port where nobody listens."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("no_proxy", "*")
    file = Path(MobileNet_V2_Weights.IMAGENET1K_V1.url).name
    monkeypatch.setattr(MobileNet_V2_Weights.IMAGENET1K_V1.value, "url", f"http://127.0.0.1:9/{file}")
    return tmp_path / "hub/checkpoints"


def test_a_failed_download_says_what_to_fetch_and_where_to_put_it(empty_cache: Path) -> None:
    with pytest.raises(ModelError) as caught:
        load(build_backbone("mobilenet_v2", 10), "mobilenet_v2", "imagenet")
    message = str(caught.value)
    assert message.startswith("cannot download the ImageNet weights of mobilenet_v2 (")
    assert "run `python -m lightning_app prepare` with the same options on a login node" in message
    fetch = f"fetch http://127.0.0.1:9/mobilenet_v2-b0353104.pth where there is a network and put it into {empty_cache}"
    assert fetch in message
    assert "or set model.weights to a .safetensors file, or to none" in message


def test_a_download_that_is_not_what_its_name_says_is_refused_and_not_kept(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    served = tmp_path / "mobilenet_v2-b0353104.pth"  # the name has the first digits of the SHA-256
    torch.save(build_backbone("mobilenet_v2", 1000).state_dict(), served)
    monkeypatch.setattr(MobileNet_V2_Weights.IMAGENET1K_V1.value, "url", served.as_uri())
    with pytest.raises(ModelError, match=r"cannot read .*invalid hash value"):
        load(build_backbone("mobilenet_v2", 10), "mobilenet_v2", "imagenet")
    assert list(empty_cache.glob("*.pth")) == []


def test_a_download_gives_up_in_seconds_and_other_ranks_wait_for_it(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: dict[str, Any] = {}

    def urlopen(*_: Any, **__: Any) -> None:
        found["timeout"] = socket.getdefaulttimeout()
        with pytest.raises(filelock.Timeout):
            filelock.FileLock(empty_cache / "mobilenet_v2.lock").acquire(timeout=0)
        found["locked"] = True
        raise OSError("no route")

    monkeypatch.setattr(torch.hub, "urlopen", urlopen)
    with pytest.raises(ModelError, match="no route"):
        load(build_backbone("mobilenet_v2", 10), "mobilenet_v2", "imagenet")
    assert found == {"timeout": 15.0, "locked": True}
    assert socket.getdefaulttimeout() is None


def test_imagenet_weights_in_torchvisions_cache_are_used(empty_cache: Path) -> None:
    empty_cache.mkdir(parents=True)
    state = build_backbone("mobilenet_v2", 1000).state_dict()
    torch.save(state, empty_cache / "mobilenet_v2-b0353104.pth")
    network = build_backbone("mobilenet_v2", 10)
    said = load(network, "mobilenet_v2", "imagenet")
    assert said == "weights: imagenet; its classifier for 1000 classes is replaced with one for 10"
    assert torch.equal(network.state_dict()["features.0.0.weight"], state["features.0.0.weight"])


def test_code_in_torchvisions_cache_is_refused_and_never_runs(empty_cache: Path, tmp_path: Path) -> None:
    empty_cache.mkdir(parents=True)
    torch.save({"weight": Payload(tmp_path / "it-ran")}, empty_cache / "mobilenet_v2-b0353104.pth")
    with pytest.raises(ModelError, match=r"cannot read .*mobilenet_v2-b0353104\.pth"):
        load(build_backbone("mobilenet_v2", 10), "mobilenet_v2", "imagenet")
    assert not (tmp_path / "it-ran").exists()


def test_a_backbone_without_first_edition_imagenet_weights_is_named() -> None:
    with pytest.raises(ModelError, match="torchvision has no IMAGENET1K_V1 weights for vit_h_14"):
        read_pretrained("vit_h_14", "imagenet")


def test_an_unknown_backbone_names_the_nearest_before_any_weights_are_looked_for() -> None:
    with pytest.raises(ModelError, match=r"unknown backbone mobilenetv2: did you mean mobilenet_v2\?"):
        read_pretrained("mobilenetv2", "imagenet")


def test_a_word_that_is_no_edition_lists_those_that_there_are() -> None:
    with pytest.raises(ModelError, match=r"model\.weights is IMAGENET; .*mobilenet_v2: IMAGENET1K_V1, IMAGENET1K_V2"):
        read_pretrained("mobilenet_v2", "IMAGENET")


def cached(edition: Any, state: dict[str, Tensor]) -> None:
    """Put a state into torchvision's cache, instead of a download."""
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(state, folder / Path(edition.url).name)


@pytest.mark.parametrize(
    ("name", "edition"),
    [("IMAGENET1K_V2", "IMAGENET1K_V2"), ("DEFAULT", "IMAGENET1K_V2"), ("imagenet", "IMAGENET1K_V1")],
)
def test_an_edition_is_the_one_that_is_named(
    name: str, edition: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for number, each in enumerate(MobileNet_V2_Weights):
        cached(each, {"number": torch.tensor(number)})
    found = read_pretrained("mobilenet_v2", name)
    assert int(found.state["number"]) == list(MobileNet_V2_Weights).index(MobileNet_V2_Weights[edition])


def test_an_edition_brings_its_own_normalisation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cached(EfficientNet_V2_L_Weights.IMAGENET1K_V1, {})
    found = read_pretrained("efficientnet_v2_l", "imagenet")
    assert (found.mean, found.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def test_googlenets_weights_are_used_as_torchvision_uses_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    torch.manual_seed(0)
    state = models.googlenet(num_classes=1000, init_weights=False).state_dict()  # with both auxiliary classifiers
    cached(models.GoogLeNet_Weights.IMAGENET1K_V1, state)
    monkeypatch.setattr(models.GoogLeNet_Weights.IMAGENET1K_V1.value, "url", "https://x/googlenet-1378be20.pth")
    found = read_pretrained("googlenet", "imagenet")
    ours = Network("googlenet", 1000, found.mean, found.std, kernels=False).eval()
    load_weights(ours.backbone, found)
    theirs = models.googlenet(num_classes=1000, init_weights=False, transform_input=True).eval()
    theirs.load_state_dict(state)
    images = torch.rand(2, 3, 64, 64)
    mean, std = torch.tensor(IMAGENET_MEAN)[:, None, None], torch.tensor(IMAGENET_STD)[:, None, None]
    torch.testing.assert_close(ours(images), theirs((images - mean) / std), rtol=1e-4, atol=1e-5)


def test_an_artifact_gives_its_network_and_its_normalisation(trained: dict[str, Tensor], tmp_path: Path) -> None:
    source = Network("mobilenet_v2", 7, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    source.backbone.load_state_dict(trained)
    card = {"backbone": "mobilenet_v2", "classes": [*"abcdefg"], "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
    save_artifact(tmp_path / "model", source, card)
    found = read_pretrained("mobilenet_v2", str(tmp_path / "model"))
    assert (found.mean, found.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert [name for name, tensor in trained.items() if not torch.equal(found.state[name], tensor)] == []
    with pytest.raises(ModelError, match=r"are for mobilenet_v2, but model\.backbone is resnet18"):
        read_pretrained("resnet18", str(tmp_path / "model"))


def test_a_checkpoint_gives_its_network_and_its_normalisation(trained: dict[str, Tensor], tmp_path: Path) -> None:
    state = {f"network.backbone.{name}": tensor for name, tensor in trained.items()} | {"other": torch.zeros(1)}
    options = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
    torch.save({"state_dict": state, "hyper_parameters": options}, tmp_path / "best.ckpt")
    found = read_pretrained("mobilenet_v2", str(tmp_path / "best.ckpt"))
    assert (found.mean, found.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    network = build_backbone("mobilenet_v2", 3)
    assert load_weights(network, found).endswith("its classifier for 7 classes is replaced with one for 3")


@pytest.mark.parametrize("backbone", ["mnasnet0_5", "squeezenet1_1"])
def test_weights_without_versions_and_a_head_that_convolves_fit(backbone: str, tmp_path: Path) -> None:
    state = {name: torch.rand_like(tensor.float()) for name, tensor in build_backbone(backbone, 7).state_dict().items()}
    path = save(state, tmp_path / "weights.safetensors")
    network = build_backbone(backbone, 3)
    assert load(network, backbone, path).endswith("its classifier for 7 classes is replaced with one for 3")
    load(build_backbone(backbone, 7), backbone, path)


@pytest.mark.skipif(not SHARED_WEIGHTS.exists(), reason=f"no {SHARED_WEIGHTS.name} beside this checkout")
def test_the_shared_imagenet_weights_fit_with_a_head_for_our_classes() -> None:
    network = build_backbone("mobilenet_v2", 10)
    said = load(network, "mobilenet_v2", str(SHARED_WEIGHTS))
    assert said.endswith("its classifier for 1000 classes is replaced with one for 10")
    assert network.state_dict()["classifier.1.weight"].shape == (10, 1280)
