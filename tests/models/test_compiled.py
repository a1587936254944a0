"""A compiled network gives the same results, under the same names; torch's debugging backends stand in."""

from __future__ import annotations

import copy
import logging
import pickle

import pytest
import torch

from models.classifier import ImageClassifier


def compiled(mode: str | None) -> ImageClassifier:
    """A network without batch norm, whose gradients can be compared closely, and with few modules to compile."""
    torch.manual_seed(0)
    return ImageClassifier(
        4, backbone="squeezenet1_1", weights="none", dropout=0.0, compile=mode, freeze_layers=["features.0"]
    )


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.slow
def test_a_compiled_step_has_the_gradients_and_the_names_of_one_that_is_not(images: torch.Tensor) -> None:
    plain, ours = compiled(None).train(), compiled("aot_eager").train()
    for model in (plain, ours):
        model(images).square().mean().backward()
    assert list(ours.state_dict()) == list(plain.state_dict())
    assert not any("_orig_mod" in name for name in ours.state_dict())
    expected = {name: parameter.grad for name, parameter in plain.named_parameters()}
    found = {name: parameter.grad for name, parameter in ours.named_parameters()}
    frozen = {name for name, gradient in expected.items() if gradient is None}
    assert frozen == {f"network.backbone.features.0.{part}" for part in ("weight", "bias")}
    assert {name for name, gradient in found.items() if gradient is None} == frozen
    for name in found.keys() - frozen:
        scale = float(expected[name].abs().max())
        assert scale > 1e-6
        torch.testing.assert_close(found[name], expected[name], rtol=0, atol=1e-4 * scale, msg=name)


@pytest.mark.slow
def test_each_shape_is_compiled_once_and_said(images: torch.Tensor, caplog: pytest.LogCaptureFixture) -> None:
    model = compiled("eager").eval()
    with caplog.at_level(logging.INFO), torch.no_grad():
        for _ in range(2):
            model(images)
            model(torch.rand(4, 3, 48, 48))
    said = [line.split(":")[1].strip() for line in caplog.messages if line.startswith("compile:")]
    assert said == ["evaluation, 4 images of 32 pixels", "evaluation, 4 images of 48 pixels"]


@pytest.mark.slow
def test_the_seconds_of_a_training_step_are_told_once_it_has_compiled_both_passes(
    images: torch.Tensor, caplog: pytest.LogCaptureFixture
) -> None:
    model = compiled("aot_eager").train()
    told = []
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            loss = model(images).sum()
            told.append(len(caplog.messages))
            loss.backward()
            told.append(len(caplog.messages))
    assert told == [0, 1, 1, 1]
    assert caplog.messages[0].startswith("compile: training, 4 images of 32 pixels: ")


def test_normalising_the_narrow_pixels_of_a_gpu_is_one_graph(images: torch.Tensor) -> None:
    normalized = compiled(None).network.normalized
    narrow = images.to(torch.bfloat16, memory_format=torch.channels_last)
    one_graph = torch.compile(normalized, backend="eager", fullgraph=True)
    assert torch.equal(one_graph(narrow), normalized(narrow))


def test_copies_have_weights_of_their_own(images: torch.Tensor) -> None:
    model = compiled("eager").eval()
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert copied.compiled.network is copied.network
        with torch.no_grad():
            expected = model(images)
            copied.head.weight.zero_()
            copied.head.bias.fill_(1.0)
            assert torch.equal(copied(images), torch.ones(4, 4))
            assert torch.equal(model(images), expected)
