"""The network that training, evaluation and serving share: normalisation and backbone in one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.backbones import build_backbone
from models.kernels.batch_norm import fuse_batch_norms
from models.kernels.depthwise import replace_depthwise
from models.kernels.norm_depthwise import join_norm_depthwise

# ImageNet's channel means and standard deviations, with which torchvision's weights were trained.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Network(nn.Module):
    """A backbone that normalises its input, so that nothing else can do it differently.

    Args:
        backbone: torchvision's name.
        num_classes: width of the classifier.
        mean, std: per channel, of pixels in [0, 1].
        dropout: before the classifier; None is torchvision's default rate.
        kernels: train with `models.kernels` where they apply; without, each module of the backbone is torchvision's, as
            tools that trace, convert or quantise expect. Names and tensors are the same.
    """

    def __init__(
        self,
        backbone: str,
        num_classes: int,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        dropout: float | None = None,
        kernels: bool = True,
    ) -> None:
        super().__init__()
        self.backbone = build_backbone(backbone, num_classes, dropout).to(memory_format=torch.channels_last)
        self.traced = not kernels  # by tools that do not follow a branch on a tensor
        if kernels:
            replace_depthwise(self.backbone)
            fuse_batch_norms(self.backbone)
            join_norm_depthwise(self.backbone)
        self.scale: Tensor
        self.offset: Tensor
        mean_, std_ = torch.tensor(mean)[:, None, None], torch.tensor(std)[:, None, None]
        # x * scale + offset is (x - mean) / std in one pass over memory.
        self.register_buffer("scale", 1 / std_, persistent=False)
        self.register_buffer("offset", -mean_ / std_, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Pixels float [n, 3, size, size] in [0, 1] to logits [n, num_classes]."""
        return self.backbone(self.normalized(images.contiguous(memory_format=torch.channels_last)))

    def normalized(self, images: Tensor) -> Tensor:
        """(pixels - mean) / std. For bf16 or fp16 pixels, computed in float32 and written in their type at once."""
        if self.traced:
            return torch.addcmul(self.offset, images, self.scale)
        narrow = images.dtype in (torch.bfloat16, torch.float16) and self.scale.dtype == torch.float32
        into = torch.empty_like(images) if narrow and not images.requires_grad else None
        return torch.addcmul(self.offset, images, self.scale, out=into)
