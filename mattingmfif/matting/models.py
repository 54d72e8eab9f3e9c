"""rembg models on disk. Nothing is ever downloaded unless explicitly allowed."""

from __future__ import annotations

from dataclasses import dataclass

from mattingmfif.errors import Refused
from mattingmfif.matting.segment import Subjects
from mattingmfif.matting.settings import MattingSettings
from mattingmfif.pixels.colour import Float32


@dataclass(frozen=True, kw_only=True)
class Model:
    """An allow-listed model."""

    name: str


def available_model(name: str = "") -> Model | None:
    """The named model, or the first allow-listed one, whose weights are on disk; None without."""
    return None


def subjects_from_model(photo_srgb: Float32, settings: MattingSettings) -> Subjects:
    """Subjects as the model sees them."""
    raise Refused("no-subject", "no model on disk", stage="segment")
