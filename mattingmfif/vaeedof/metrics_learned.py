"""LPIPS (Zhang 2018), where its package and weights already lie on this machine; nothing is ever downloaded.

Needs the package `lpips` (which brings its own linear weights) and torchvision's AlexNet in torch's hub folder.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

ALEXNET = "alexnet-owt-7be5be79.pth"  # the file that torchvision keeps
Codes = npt.NDArray[Any]
Distance = Callable[[Codes, Codes], float]


def find_lpips() -> Distance | str:
    """LPIPS of two images of one size `[H,W,3]` (0: alike), or a line that says why it cannot be had."""
    if find_spec("lpips") is None:
        return "LPIPS left out: the package lpips is not installed"
    weights = Path(torch.hub.get_dir()) / "checkpoints" / ALEXNET
    if not weights.is_file():
        return f"LPIPS left out: no {ALEXNET} in torch's hub folder"
    network = import_module("lpips").LPIPS(net="alex", verbose=False).eval()

    def distance(image: Codes, target: Codes) -> float:
        pair = []
        for codes in (image, target):
            unit = codes.astype(np.float32) / np.float32(np.iinfo(codes.dtype).max)
            pair.append(torch.from_numpy(np.ascontiguousarray(unit.transpose(2, 0, 1)))[None] * 2 - 1)
        with torch.no_grad():
            return float(network(*pair))

    return distance
