"""Photographs and a recipe become shards, and shards become arrays again.

In the order of the data: recipe, plan, build; sample (one in memory), layer_store (its layers), schema, cells and tiff
(image bytes), shards (writing); files, offsets and reader (reading), photograph and retake (stored layers), catalogue,
crops, stack_window, loader, stream and torch_loader (training); verify, preview, report and stats (looking); card,
croissant, preview_config and export (publishing).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mattingmfif.dataset.crops import SensorDraw
    from mattingmfif.dataset.loader import FocalStackDataset
    from mattingmfif.dataset.reader import Sample, Shards, open_shards
    from mattingmfif.dataset.retake import Retake
    from mattingmfif.dataset.stream import FocalStackStream

_HOME = {
    "FocalStackDataset": "loader",
    "FocalStackStream": "stream",
    "Retake": "retake",
    "Sample": "reader",
    "SensorDraw": "crops",
    "Shards": "reader",
    "open_shards": "reader",
}

__all__ = ["FocalStackDataset", "FocalStackStream", "Retake", "Sample", "SensorDraw", "Shards", "open_shards"]


def __getattr__(name: str) -> Any:
    """Public names are imported when first used: recipes are read without pyarrow."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
