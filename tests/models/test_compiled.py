"""A compiled network computes what it computed, under the same names; torch's backends for debugging stand in."""

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


def test_each_shape_is_compiled_once_and_said(images: torch.Tensor, caplog: pytest.LogCaptureFixture) -> None:
    model = compiled("eager").eval()
    with caplog.at_level(logging.INFO), torch.no_grad():
        for _ in range(2):
            model(images)
            model(torch.rand(4, 3, 48, 48))
    said = [line.split(":")[1].strip() for line in caplog.messages if line.startswith("compile:")]
    assert said == ["evaluation, 4 images of 32 pixels", "evaluation, 4 images of 48 pixels"]


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
