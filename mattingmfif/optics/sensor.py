"""From light to code values: exposure, vignetting, noise by ISO, clipping, the sRGB curve; and highlights back again.

Linear light 1.0 is the sensor's white at `exposure_ev` 0. A photo-electron count n at full signal falls with ISO:
n = full_well_electrons * 100 / iso. Shot noise is Poisson, read noise Gaussian, both in electrons.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mattingmfif.errors import UserError
from mattingmfif.pixels.colour import encode_srgb

Float32 = npt.NDArray[np.float32]

_NORMAL_FROM = 200.0  # electrons above which a Poisson count is drawn as a normal one: their difference is not visible
_ROWS_AT_ONCE = 128


@dataclass(frozen=True, kw_only=True)
class Sensor:
    """Exposure and noise; the defaults change nothing. Scalars only, so that a recipe can draw and record them."""

    exposure_ev: float = 0.0  # light is multiplied by 2 ** exposure_ev
    vignetting_ev: float = 0.0  # loss of light in the corners, in stops, growing as cos^4 of the angle does
    iso: float = 0.0  # 0: no noise at all
    full_well_electrons: float = 25000.0  # photo-electrons at white and ISO 100
    read_noise_electrons: float = 3.0  # standard deviation per pixel and channel
    bits: int = 8  # 8 or 16

    def __post_init__(self) -> None:
        for name in ("exposure_ev", "vignetting_ev", "iso", "full_well_electrons", "read_noise_electrons"):
            if not math.isfinite(getattr(self, name)):
                raise UserError(f"{name}: {getattr(self, name)}; allowed: a finite number")
        for name in ("vignetting_ev", "iso", "read_noise_electrons"):
            if getattr(self, name) < 0:
                raise UserError(f"{name}: {getattr(self, name)}; allowed: 0 or more")
        if self.full_well_electrons <= 0:
            raise UserError(f"full_well_electrons: {self.full_well_electrons}; allowed: more than 0")
        if self.bits not in (8, 16):
            raise UserError(f"bits: {self.bits}; allowed: 8, 16")

    @property
    def is_noiseless(self) -> bool:
        """True when `expose` draws nothing."""
        return self.iso == 0.0

    @property
    def electrons_at_white(self) -> float:
        """Photo-electrons of a pixel at linear 1.0; infinite without noise."""
        return math.inf if self.iso == 0.0 else self.full_well_electrons * 100.0 / self.iso

    def noise_sigma(self, signal_linear: npt.ArrayLike) -> Float32:
        """Standard deviation of the noise, linear light, of a signal in linear light: sqrt(x n + read^2) / n."""
        signal = np.maximum(np.asarray(signal_linear, np.float32), 0.0)
        if self.iso == 0.0:
            return np.zeros_like(signal)
        n = self.electrons_at_white
        return np.asarray(np.sqrt(signal * n + self.read_noise_electrons**2) / n, np.float32)


def vignetting_map(height: int, width: int, loss_ev: float) -> Float32:
    """Transmission `[height, width]`: 1 in the middle, 2 ** -loss_ev in the corners, following cos^4 of the angle."""
    corner_cosine = 2.0 ** (-loss_ev / 4.0)
    tangent_squared = 1.0 / corner_cosine**2 - 1.0
    y = np.arange(height) - (height - 1) / 2.0
    x = np.arange(width) - (width - 1) / 2.0
    corner = max(y[-1] ** 2 + x[-1] ** 2, 1e-12)
    share = (y[:, None] ** 2 + x[None, :] ** 2) / corner
    return np.asarray((1.0 + share * tangent_squared) ** -2.0, np.float32)


def expose(light_linear: Float32, sensor: Sensor, rng: np.random.Generator | int | None = None) -> Float32:
    """What the sensor reports of `light_linear` `[H,W,3]`: exposed, noisy, clipped to 0..1; float32 linear.

    Without noise (`iso` 0) nothing is drawn and `rng` may be None. The same rng state gives the same bits.
    """
    image = np.asarray(light_linear, np.float32) * np.float32(2.0**sensor.exposure_ev)
    if sensor.vignetting_ev:
        image = image * vignetting_map(image.shape[0], image.shape[1], sensor.vignetting_ev)[..., None]
    if not sensor.is_noiseless:
        if rng is None:
            raise UserError("rng: None; a sensor with noise needs a seed or a generator")
        _add_noise(image, sensor, np.random.default_rng(rng))
    return np.asarray(np.clip(image, 0.0, 1.0), np.float32)


def develop(exposed_linear: Float32, sensor: Sensor) -> npt.NDArray[Any]:
    """The sRGB codes (uint8 or uint16 by `sensor.bits`) of exposed linear light `[H,W,3]`."""
    return encode_srgb(exposed_linear, bits=sensor.bits)


def expand_highlights(photo_linear: Float32, most: float = 4.0, threshold: float = 0.9) -> Float32:
    """Linear light `[H,W,3]` with clipped highlights raised, up to `most` where the brightest channel is 1.

    An 8-bit source ends at white, and its lamps blur too dark. Above `threshold` the brightest channel m is mapped to
    threshold + (m - threshold) (1 + (g - 1) t^2), t = (m - threshold) / (1 - threshold), with g chosen so that 1 goes
    to `most`; the colour's ratios stay. Below the threshold nothing changes; value and slope are continuous there.
    The raised light is invented: callers record it.
    """
    if not (0.0 < threshold < 1.0 and most >= 1.0 and math.isfinite(most)):
        raise UserError(f"highlights: most {most}, threshold {threshold}; allowed: most >= 1, threshold inside 0..1")
    photo = np.asarray(photo_linear, np.float32)
    brightest = photo.max(axis=-1)
    room = 1.0 - threshold
    t = np.clip((brightest - np.float32(threshold)) / np.float32(room), 0.0, 1.0)
    growth = np.float32((most - threshold) / room)
    raised = brightest + np.float32(room) * t * (growth - 1.0) * t * t
    gain = np.where(brightest > threshold, raised / np.maximum(brightest, np.float32(1e-6)), np.float32(1.0))
    return photo * gain[..., None].astype(np.float32)


def _add_noise(image: Float32, sensor: Sensor, rng: np.random.Generator) -> None:
    n = np.float32(sensor.electrons_at_white)
    for top in range(0, image.shape[0], _ROWS_AT_ONCE):  # in strips, so that memory stays small
        strip = image[top : top + _ROWS_AT_ONCE]
        electrons = np.maximum(strip, 0.0) * n
        counted = electrons + np.sqrt(electrons) * rng.standard_normal(strip.shape, np.float32)
        few = electrons < _NORMAL_FROM
        counted[few] = rng.poisson(electrons[few])
        counted += np.float32(sensor.read_noise_electrons) * rng.standard_normal(strip.shape, np.float32)
        strip[...] = counted / n
