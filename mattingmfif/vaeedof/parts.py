"""The bricks that the picture of the model (`model.py`) is built of: convolutions, residual blocks, norms, shapes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv3(channels_in: int, channels_out: int, stride: int = 1) -> nn.Conv2d:
    """A 3x3 convolution, zeros outside."""
    return nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1)


def conv1(channels_in: int, channels_out: int) -> nn.Conv2d:
    """A 1x1 convolution."""
    return nn.Conv2d(channels_in, channels_out, 1)


def by_frame(x: Tensor, like: Tensor) -> Tensor:
    """`[B*N,...]` as `[B,N,...]`, B and N those of `like`."""
    return x.reshape(*like.shape[:2], *x.shape[1:])


def wide(x: Tensor) -> Tensor:
    """The tensor in at least float32: what mixes source pixels is never rounded to 16 bits."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def zeroed(layer: nn.Conv2d) -> nn.Conv2d:
    """The layer with all weights 0, so that what it adds starts as nothing."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class Block(nn.Module):
    """x + conv(relu(conv(relu(x)))), no normalisation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = conv3(width, width), conv3(width, width)
        with torch.no_grad():
            self.second.weight.mul_(0.3)  # without a norm, a deep sum of full-size branches would grow

    def forward(self, x: Tensor) -> Tensor:
        """The block's output, same shape."""
        return x + self.second(F.relu(self.first(F.relu(x))))


def stage(width: int, blocks: int) -> nn.Sequential:
    """`blocks` residual blocks."""
    return nn.Sequential(*[Block(width) for _ in range(blocks)])


class PositionNorm(nn.Module):
    """Channels scaled to unit mean square at each position by itself, so tiles stay exact."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Normalised x, same shape."""
        return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-6) * self.scale
