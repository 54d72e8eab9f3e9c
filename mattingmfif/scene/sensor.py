"""What a recipe draws of the sensor, and of the light that the sources' white cut off.

Noise is by default not in the pixels: it is recorded as `noise_at_load`, the same law everywhere, and the loader adds
it. A recipe that bakes it has it in the frames; the target has none. Exposure and vignetting are in both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from mattingmfif.optics import Layer, Sensor, expand_highlights
from mattingmfif.scene.settings import ShotSettings

_NOISE = ("iso", "full_well_electrons", "read_noise_electrons")


def draw_sensor(settings: ShotSettings, streams: Callable[[str], np.random.Generator]) -> tuple[Sensor, dict[str, Any]]:
    """The sensor that one sample's codes go through, and what is recorded beside it.

    The record may hold `noise_at_load` (fields of a Sensor, not in the pixels) and `highlights`.
    """
    rng, recipe = streams("sensor"), settings.sensor
    sensor = Sensor(
        exposure_ev=recipe.exposure_ev.number(rng),
        vignetting_ev=recipe.vignetting_ev.number(rng),
        iso=recipe.iso.number(rng),
        full_well_electrons=recipe.full_well_electrons,
        read_noise_electrons=recipe.read_noise_electrons,
        bits=settings.bits,
    )
    recorded: dict[str, Any] = {}
    if not sensor.is_noiseless and not recipe.bake_noise:
        recorded["noise_at_load"] = {name: getattr(sensor, name) for name in _NOISE}
        sensor = replace(sensor, iso=0.0)
    most = settings.highlights.most.number(streams("highlights"))
    if most > 1.0:
        recorded["highlights"] = {"most": most, "threshold": settings.highlights.threshold}
    return sensor, recorded


def with_highlights(layer: Layer, highlights: Mapping[str, float] | None) -> Layer:
    """The layer with its clipped highlights raised as `draw_sensor` recorded it (None: the layer itself)."""
    if highlights is None:
        return layer
    raised = expand_highlights(layer.colour_linear, highlights["most"], highlights["threshold"])
    return replace(layer, colour_linear=raised)
