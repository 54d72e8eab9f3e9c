"""Photographs and a recipe become shards, and shards become arrays again.

In the order of the data: recipe, plan, build; sample (one in memory), schema, cells and tiff (image bytes), shards
(writing), offsets and reader (reading), verify, preview and report (looking), card and croissant (publishing).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mattingmfif.dataset.reader import Sample, Shards, open_shards

_HOME = {"Sample": "reader", "Shards": "reader", "open_shards": "reader"}

__all__ = ["Sample", "Shards", "open_shards"]


def __getattr__(name: str) -> Any:
    """Public names are imported when first used: recipes are read without pyarrow."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
