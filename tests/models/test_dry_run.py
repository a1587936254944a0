"""Whether a network accepts a batch is known before anything is computed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from models.dry_run import check_takes
from models.errors import ModelError
from models.normalized_network import Network


@pytest.fixture(scope="module")
def network() -> Network:
    return Network("mobilenet_v2", num_classes=3)


def test_batch_statistics_of_a_single_value_are_refused_as_torch_refuses_them(network: Network) -> None:
    with pytest.raises(ModelError, match=r"cannot take 1 image of 32 pixels at once \(Expected more than 1 value"):
        check_takes(network.train(), 1, 32)
    with pytest.raises(ValueError, match="Expected more than 1 value"):
        network(torch.rand(1, 3, 32, 32))


@pytest.mark.parametrize(("images", "size", "training"), [(2, 32, True), (1, 33, True), (1, 32, False)])
def test_what_can_be_taken_is_and_the_network_stays_as_it_was(
    images: int, size: int, training: bool, network: Network
) -> None:
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    check_takes(network.train(training), images, size)
    after = network.state_dict()
    assert {name for name in before if not torch.equal(before[name], after[name])} == set()
    assert network.training == training


def test_a_network_of_several_answers_is_refused() -> None:
    class Two(nn.Module):
        def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
            return images, images

    with pytest.raises(ModelError, match="several outputs"):
        check_takes(Two(), 2, 32)
