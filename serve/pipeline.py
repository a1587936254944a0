"""From a stored image to probabilities: the preprocessing that every answer and every exported file shares."""

from __future__ import annotations

from torch import Tensor, nn

from datamodules.geometry import resample


class Pipeline(nn.Module):
    """Stored images, uint8 [n, 3, S, S], to probabilities, float [n, C].

    Args:
        network: takes pixels in [0, 1] and normalises them itself.
        input_size: side of its input in pixels.
    """

    def __init__(self, network: nn.Module, input_size: int) -> None:
        super().__init__()
        self.network, self.input_size = network, input_size

    def forward(self, stored: Tensor) -> Tensor:
        return self.network(resample(stored.float() / 255, self.input_size)).softmax(dim=1)
