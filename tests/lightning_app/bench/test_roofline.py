"""The roofline measures each layer of the network, and adds up by layer type and direction, beside the bounds."""

from __future__ import annotations

import argparse

from torch import nn

from lightning_app.bench.roofline import Point, layers, table


def test_each_convolution_and_batch_norm_of_the_network_is_measured_at_its_shape() -> None:
    found = layers(argparse.Namespace(batch_size=3, image_size=32))
    convolutions = sum(isinstance(layer, nn.Conv2d) for layer, _ in found)
    assert (convolutions, len(found) - convolutions) == (52, 52)  # of MobileNetV2
    assert [tuple(shape) for _, shape in found[:2]] == [(3, 3, 32, 32), (3, 32, 16, 16)]


def test_each_type_and_direction_has_its_time_and_the_bound_of_bandwidth_or_peak() -> None:
    points = [
        Point("pointwise", "forward", 0.5, flops=100.0, bytes=5.0),  # bound by the peak: 100 / 1000 s
        Point("pointwise", "forward", 0.25, flops=10.0, bytes=30.0),  # by the bandwidth: 30 / 100 s
        Point("pointwise", "backward", 2.0, flops=500.0, bytes=1.0),
    ]
    rows = [line.rsplit(maxsplit=2) for line in table(points, bandwidth=100.0, peak=1000.0).splitlines()[2:]]
    assert rows == [["pointwise, forward", "750.0", "400.0"], ["pointwise, backward", "2000.0", "500.0"]]
