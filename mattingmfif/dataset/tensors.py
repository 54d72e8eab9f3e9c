"""Arrays of an item become torch tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

#: arrays whose last axis is colour
_COLOUR = ("frames", "target")


def as_tensors(item: dict[str, Any]) -> dict[str, Any]:
    """The item with tensors for arrays, colour channels in front of height and width; texts stay texts."""
    result: dict[str, Any] = {}
    for name, value in item.items():
        if isinstance(value, np.ndarray):
            array = np.moveaxis(value, -1, -3) if name in _COLOUR else value
            result[name] = torch.from_numpy(np.ascontiguousarray(array))
        elif isinstance(value, np.generic):
            result[name] = torch.as_tensor(value.item(), dtype=torch.float32)
        else:
            result[name] = value
    return result
