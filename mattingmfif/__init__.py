"""Training data for multi-focus image fusion: photographs apart into layers, and again through a thin lens.

The rooms, in the order in which data flows (each imports only those above it):

    pixels     arrays -> arrays: sRGB curve, resampling, push-pull, grain
    photo      a file               -> a photograph: linear float32, oriented, colour-managed, hashed; or a refusal
    matting    a photograph         -> cut-outs (colour + alpha) and the plate behind them
    optics     scene + lens + focus -> a frame                       (no knowledge of files or matting)
    scene      cut-outs + recipe    -> layers at distances
    dataset    photos + recipe      -> shards, and back
    vaeedof    shards               -> a trained fuser; frames -> one image     (torch)
    cli        words                -> one call each
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from mattingmfif.dataset.loader import FocalStackDataset
    from mattingmfif.dataset.reader import open_shards
    from mattingmfif.optics import Aperture, Layer, Scene, ThinLens, refocus, render, render_stack

_HOME = {
    "ThinLens": "optics",
    "Aperture": "optics",
    "Layer": "optics",
    "Scene": "optics",
    "refocus": "optics",
    "render": "optics",
    "render_stack": "optics",
    "open_shards": "dataset.reader",
    "FocalStackDataset": "dataset.loader",
}

__all__ = [
    "Aperture",
    "FocalStackDataset",
    "Layer",
    "Scene",
    "ThinLens",
    "__version__",
    "open_shards",
    "refocus",
    "render",
    "render_stack",
]


def __getattr__(name: str) -> Any:
    """Public names are imported when first used, so that `import mattingmfif` and `--help` stay instant."""
    if name not in _HOME:
        raise AttributeError(f"module 'mattingmfif' has no attribute {name!r}")
    value = getattr(import_module(f"mattingmfif.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
