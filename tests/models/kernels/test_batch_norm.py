"""BatchNorm with activation: torch's results, torch's names, and torch's modules where the kernel does not apply."""

from __future__ import annotations

import copy
import logging
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from calibration import calibrate
from torch import Tensor, nn

from models.backbones import build_backbone
from models.kernels import compiling
from models.kernels.batch_norm import SOURCE, UNBOUNDED, ActivationBehind, FusedBatchNorm, fuse_batch_norms
from models.kernels.depthwise import Depthwise
from models.kernels.in_use import kernels_in_use
from models.normalized_network import Network

needs_compiler = pytest.mark.skipif(
    compiling.load(SOURCE, "-DELEMENT_BITS=32") is None, reason="needs a C compiler: apt-get install gcc"
)
# Channels: fewer and more than a vector, no multiple of one, and so few that rows are taken together.
SHAPES = [(4, 24, 7, 7), (2, 130, 5, 3), (8, 3, 16, 16), (5, 1280, 1, 1), (7, 1, 3, 3), (2, 96, 40, 40)]
# As MobileNetV2's first layers have them: many blocks of rows for each thread; and an odd number of rows.
LARGE_SHAPES = [(2, 32, 112, 112), (3, 24, 37, 37)]
ACTIVATIONS = [nn.ReLU6(), nn.ReLU(), None]


@pytest.fixture(params=[1, 2, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """So many threads in torch, where the suite has one."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def norm_of(channels: int) -> nn.BatchNorm2d:
    """A BatchNorm with its own weights and statistics; its activation clamps at both ends."""
    norm = nn.BatchNorm2d(channels)
    nn.init.uniform_(norm.weight, 0.5, 4)
    nn.init.normal_(norm.bias)
    nn.init.normal_(norm.running_mean)
    return norm


def fused(norm: nn.BatchNorm2d, activation: nn.Module | None = None) -> nn.Sequential:
    """A batch norm and its activation as a network has them, fused."""
    network = nn.Sequential(norm, activation) if activation else nn.Sequential(norm)
    fuse_batch_norms(network)
    return network


def outcome(module: nn.Module, norm: nn.BatchNorm2d, images: Tensor, grad: Tensor) -> dict[str, Tensor]:
    """What a training step computes, and what it leaves in the statistics."""
    images = images.clone(memory_format=torch.channels_last).requires_grad_()
    found = module(images)
    found.backward(grad)
    assert images.grad is not None
    statistics = {f"running {name}": buffer for name, buffer in norm.named_buffers()}
    return {
        "result": found.detach(),
        "gradient of images": images.grad,
        "gradient of weight": norm.weight.grad,
        "gradient of bias": norm.bias.grad,
        **statistics,
    }


def ours_and_torchs(
    shape: tuple[int, ...], activation: nn.Module | None, dtype: torch.dtype
) -> list[dict[str, Tensor]]:
    """The same step by the kernel in a type, and by torch's modules in float64."""
    torch.manual_seed(0)
    norm = norm_of(shape[1])
    images, grad = (3 * torch.randn(shape) + 5).to(dtype), torch.randn(shape).to(dtype)
    ours = fused(copy.deepcopy(norm), activation)
    exact = norm.double()
    plain = nn.Sequential(exact, activation) if activation else exact
    return [outcome(ours, ours[0], images, grad), outcome(plain, exact, images.double(), grad.double())]


def assert_close(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """What is written as bfloat16 is rounded once, to 8 significant bits; all else is float32."""
    for name, exact in expected.items():
        scale = max(1.0, float(exact.double().abs().max()))
        relative = 2**-8 if found[name].dtype == torch.bfloat16 else 0.0
        torch.testing.assert_close(
            found[name].double(),
            exact.double(),
            rtol=relative,
            atol=2e-6 * scale,
            msg=lambda text, name=name: name + text,
        )


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_all_is_as_torch_computes_it_in_float64(
    shape: tuple[int, ...], activation: nn.Module | None, dtype: torch.dtype
) -> None:
    assert_close(*ours_and_torchs(shape, activation, dtype))


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", LARGE_SHAPES, ids=str)
def test_large_images_and_any_number_of_threads_change_nothing(
    shape: tuple[int, ...], dtype: torch.dtype, threads: int
) -> None:
    assert_close(*ours_and_torchs(shape, nn.ReLU6(), dtype))


@needs_compiler
def test_a_mean_far_from_zero_cancels_nothing() -> None:
    torch.manual_seed(0)
    images = torch.randn(16, 8, 32, 32) + 1000
    ours = FusedBatchNorm(nn.BatchNorm2d(8, momentum=1.0))
    ours(images)
    expected = images.double().transpose(0, 1).flatten(1)
    torch.testing.assert_close(ours.running_var.double(), expected.var(dim=1), rtol=1e-6, atol=0)


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_nan_is_passed_on_as_torch_does_and_not_clamped_away(dtype: torch.dtype) -> None:
    images = torch.randn(2, 8, 4, 4, dtype=dtype)
    images[0, 3, 1, 1] = torch.nan
    found = fused(nn.BatchNorm2d(8), nn.ReLU6())(images)
    assert found.isnan().any(dim=(0, 2, 3)).tolist() == [channel == 3 for channel in range(8)]


@needs_compiler
def test_the_same_step_has_the_same_bits_each_time() -> None:
    first, second = (ours_and_torchs((8, 96, 56, 56), nn.ReLU6(), torch.bfloat16)[0] for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_evaluation_is_torchs_own_to_the_bit() -> None:
    norm, images = norm_of(24).eval(), torch.randn(4, 24, 7, 7)
    ours = fused(copy.deepcopy(norm), nn.ReLU6()).eval()
    assert torch.equal(ours(images), nn.ReLU6()(norm(images)))


def test_a_network_keeps_its_names_its_parameters_and_their_order() -> None:
    network = build_backbone("mobilenet_v2", 10)
    before = dict(network.state_dict(keep_vars=True))
    fuse_batch_norms(network)
    after = network.state_dict(keep_vars=True)
    assert list(after) == list(before)
    assert all(after[name] is before[name] for name in before)


@pytest.mark.parametrize(("backbone", "norms", "activated"), [("mobilenet_v2", 52, 35), ("resnet18", 20, 0)])
def test_every_batch_norm_is_exchanged_and_takes_the_activation_behind_it(
    backbone: str, norms: int, activated: int
) -> None:
    network = Network(backbone, 10)
    found = [module for module in network.modules() if isinstance(module, FusedBatchNorm)]
    assert (len(found), sum(norm.bounds != UNBOUNDED for norm in found)) == (norms, activated)
    assert sum(isinstance(module, ActivationBehind) for module in network.modules()) == activated


@needs_compiler
@pytest.mark.parametrize("backbone", ["mobilenet_v2", "shufflenet_v2_x0_5"])
def test_a_converted_network_keeps_its_activations(backbone: str) -> None:
    network = Network(backbone, 10)
    calibrate(network, network.backbone)
    network.train()(torch.rand(4, 3, 32, 32))  # the kernels have applied activations before
    expected = network.eval()(images := torch.rand(3, 3, 32, 32))
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(network)).eval()
    assert any(isinstance(module, nn.SyncBatchNorm) for module in converted.modules())
    assert not any(isinstance(module, FusedBatchNorm) for module in converted.modules())
    torch.testing.assert_close(converted(images), expected)


def test_a_pickled_network_trains_as_before() -> None:
    network = Network("mobilenet_v2", 10, dropout=0.0).train()
    copied = pickle.loads(pickle.dumps(network))
    images = torch.rand(4, 3, 32, 32)
    assert torch.equal(copied(images), network(images))
    assert any(isinstance(module, FusedBatchNorm) for module in copied.modules())


def test_a_network_without_kernels_is_torchvisions_own() -> None:
    types = {type(module) for module in Network("mobilenet_v2", 10, kernels=False).modules()}
    assert not {FusedBatchNorm, ActivationBehind, Depthwise} & types
    assert {nn.BatchNorm2d, nn.ReLU6, nn.Conv2d} <= types


@pytest.fixture
def switched_off(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """With the kernels switched off, as by the environment of a process."""
    monkeypatch.setenv(compiling.SWITCH, "0")
    compiling.load.cache_clear()
    yield
    compiling.load.cache_clear()


def test_switched_off_all_is_torchs_own_to_the_bit_and_a_runs_facts_say_so(switched_off: None) -> None:
    torch.manual_seed(0)
    plain = build_backbone("mobilenet_v2", 10, dropout=0.0).to(memory_format=torch.channels_last).train()
    ours = copy.deepcopy(plain)
    fuse_batch_norms(ours)
    images = torch.rand(4, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    assert torch.equal(ours(images), plain(images))
    assert kernels_in_use() == {"batch_norm": False, "depthwise": False, "norm_depthwise": False}


@needs_compiler
def test_with_a_compiler_the_kernels_are_in_use() -> None:
    assert kernels_in_use() == {"batch_norm": True, "depthwise": True, "norm_depthwise": True}


@needs_compiler
@pytest.mark.parametrize("backbone", ["mobilenet_v2", "resnet18", "shufflenet_v2_x0_5"])
def test_the_gradients_of_a_whole_network_are_those_of_torchs(backbone: str) -> None:
    torch.manual_seed(0)
    plain = build_backbone(backbone, 10).train().requires_grad_()
    ours = copy.deepcopy(plain).to(memory_format=torch.channels_last)
    fuse_batch_norms(ours)
    images = torch.rand(8, 3, 64, 64)
    for network, given in ((plain.double(), images.double()), (ours, images)):
        torch.manual_seed(1)  # dropout
        network(given).square().sum().backward()
    expected, found = (
        torch.cat([parameter.grad.double().flatten() for parameter in network.parameters()])
        for network in (plain, ours)
    )
    # float32 against float64, through fifty layers, of which the last normalise over few values.
    assert (found - expected).norm() < 0.01 * expected.norm()


@pytest.mark.slow
def test_a_training_forward_is_one_graph_for_torch_compile() -> None:
    network = Network("mobilenet_v2", 10, dropout=0.0).train()
    images = torch.rand(8, 3, 96, 96)
    compiled = torch.compile(copy.deepcopy(network), backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(images), network(images), rtol=0.01, atol=0.01)


@pytest.mark.parametrize("compiler", ["no-such-compiler", "false"])
def test_without_a_working_compiler_torchs_own_takes_its_place_and_the_log_says_so_once(
    compiler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CC", compiler)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    compiling.load.cache_clear()
    try:
        with caplog.at_level(logging.INFO):
            ours = fused(nn.BatchNorm2d(24), nn.ReLU6())
            images = torch.randn(4, 24, 7, 7)
            found = [ours(images) for _ in range(2)]
    finally:
        compiling.load.cache_clear()
    assert all(torch.equal(each, nn.ReLU6()(nn.BatchNorm2d(24)(images))) for each in found)
    assert caplog.text.count("kernels: using torch's instead of batch_norm.c") == 1
    assert compiler in caplog.text


@needs_compiler
def test_what_was_compiled_is_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    compiling.load.cache_clear()
    assert compiling.load(SOURCE, "-DELEMENT_BITS=32") is not None
    compiling.load.cache_clear()
    monkeypatch.setattr(compiling, "compile_to", None)
    assert compiling.load(SOURCE, "-DELEMENT_BITS=32") is not None
    compiling.load.cache_clear()


def test_statistics_that_are_cumulative_means_are_torchs() -> None:
    norm, images = norm_of(24), torch.randn(4, 24, 7, 7)
    ours = FusedBatchNorm(copy.deepcopy(norm))
    for module in (norm, ours):  # as a calibration sets it, after the network was made
        module.momentum = None
        module(images)
    assert torch.equal(ours.running_mean, norm.running_mean)
    assert torch.equal(ours.running_var, norm.running_var)
