"""What a training example is made of: where it is cut, which frames it has, what the sensor adds. Plain functions.

Every draw comes from the generator that is handed in, in a fixed order, so that an example is a function of its key.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mattingmfif.dataset.sample import NO_FRAME, SHARP_RADIUS_PX
from mattingmfif.dataset.tiff import Window
from mattingmfif.errors import UserError
from mattingmfif.optics.lens import ThinLens
from mattingmfif.optics.sensor import Sensor, develop, expose
from mattingmfif.pixels.colour import decode_srgb

Codes = npt.NDArray[Any]
Float32 = npt.NDArray[np.float32]

#: boundary and gap are looked up on this grid when a crop is to lie there
GRID_PX = 16


@dataclass(frozen=True, kw_only=True)
class SensorDraw:
    """What a sensor adds when a stack is loaded, by the law of `optics.sensor`; the defaults add nothing.

    `iso` is a number or a pair between which it is drawn evenly in stops, once a stack; 0 is no noise.
    Every frame's exposure drifts by up to `exposure_drift_ev` stops either way, drawn evenly frame by frame.
    """

    iso: float | tuple[float, float] = 0.0
    exposure_drift_ev: float = 0.0
    full_well_electrons: float = 25000.0
    read_noise_electrons: float = 3.0
    noisy_target: bool = False

    def __post_init__(self) -> None:
        """Refuse values that no sensor has."""
        low, high = self.iso_range
        if not (0 <= low <= high < math.inf) or (low == 0 < high):
            raise UserError(f"iso: {self.iso!r}; allowed: 0, a number above 0, or a pair of them, the smaller first")
        if not 0 <= self.exposure_drift_ev <= 4:
            raise UserError(f"exposure_drift_ev: {self.exposure_drift_ev!r}; allowed: 0 to 4 stops")

    @property
    def iso_range(self) -> tuple[float, float]:
        """Lowest and highest ISO."""
        low, high = (self.iso, self.iso) if isinstance(self.iso, int | float) else self.iso
        return float(low), float(high)

    @property
    def changes_nothing(self) -> bool:
        """Whether frames come as they are stored."""
        return self.iso_range[1] == 0 and self.exposure_drift_ev == 0

    def drawn(self, frames: int, bits: int, rng: np.random.Generator) -> list[Sensor]:
        """The sensor of every frame of one stack."""
        low, high = self.iso_range
        iso = 0.0 if high == 0 else math.exp(rng.uniform(math.log(low), math.log(high)))
        drift = rng.uniform(-1.0, 1.0, frames) * self.exposure_drift_ev
        return [
            Sensor(
                exposure_ev=float(ev),
                iso=iso,
                full_well_electrons=self.full_well_electrons,
                read_noise_electrons=self.read_noise_electrons,
                bits=bits,
            )
            for ev in drift
        ]


def sensed(codes: Codes, sensor: Sensor, rng: np.random.Generator) -> Codes:
    """What the sensor makes of the sRGB codes `[h,w,3]`: same type, exposed, noisy, clipped, encoded again."""
    return develop(expose(decode_srgb(codes), sensor, rng), sensor)


def draw_window(
    size: tuple[int, int], crop: tuple[int, int] | None, marks: npt.NDArray[np.bool_] | None, rng: np.random.Generator
) -> Window:
    """A window (y, x, height, width) inside `size`, evenly anywhere, or around one of the `marks` on the coarse grid.

    A mark lies within a quarter of the crop of its middle, unless the frame's border is in the way.
    """
    height, width = size
    if crop is None:
        return 0, 0, height, width
    crop_height, crop_width = crop
    y, x = int(rng.integers(height - crop_height + 1)), int(rng.integers(width - crop_width + 1))
    if marks is not None and marks.any():
        places = np.flatnonzero(marks)
        row, column = divmod(int(places[int(rng.integers(len(places)))]), marks.shape[1])
        off_y, off_x = rng.uniform(-0.25, 0.25, 2)
        y = round(row * GRID_PX - crop_height / 2 + off_y * crop_height)
        x = round(column * GRID_PX - crop_width / 2 + off_x * crop_width)
        y, x = min(max(y, 0), height - crop_height), min(max(x, 0), width - crop_width)
    return y, x, crop_height, crop_width


def draw_frames(
    available: int, least: int, most: int, shuffled: bool, rng: np.random.Generator, drop_share: float = 1.0
) -> npt.NDArray[np.int64]:
    """Numbers of the frames an example has, in order unless `shuffled`.

    In `drop_share` of all draws their number is drawn evenly from `least` to `most`, in the others it is the most.
    """
    count = min(most, available)
    if drop_share == 1 or rng.random() < drop_share:
        count = int(rng.integers(least, count + 1))
    order = rng.permutation(available)[:count]
    return order if shuffled else np.sort(order)


def radii_px(
    lens: ThinLens, image_width_px: float, dioptres: Float32, focus_distance_m: npt.NDArray[np.float64]
) -> Float32:
    """[N,h,w] signed blur radius of surfaces at `dioptres` (1 / m) for each focus distance, px."""
    result = np.empty((len(focus_distance_m), *dioptres.shape), np.float32)
    for radius, focus_m in zip(result, focus_distance_m, strict=True):
        per_dioptre = lens.blur_per_dioptre_px(float(focus_m), image_width_px)
        np.multiply(dioptres, np.float32(-per_dioptre), out=radius)
        radius += np.float32(per_dioptre / float(focus_m))
    return result


def sharpest_of(
    stored: npt.NDArray[np.uint8], kept: npt.NDArray[np.int64], radius_px: Float32
) -> npt.NDArray[np.uint8]:
    """`sharpest_frame` of a stack that has only the `kept` frames, numbered by their new places.

    `radius_px` `[N,h,w]` belongs to the kept frames. Where the sharpest frame is gone, the next within 0.5 px takes its
    place, if there is one.
    """
    places = np.full(256, NO_FRAME, np.uint8)
    places[kept] = np.arange(len(kept), dtype=np.uint8)
    result = places[stored]
    orphans = np.flatnonzero((result == NO_FRAME) & (stored != NO_FRAME))
    if len(orphans):
        radii = np.abs(radius_px.reshape(len(kept), -1)[:, orphans])
        best = np.argmin(radii, axis=0)
        least = np.take_along_axis(radii, best[None], axis=0)[0]
        result.reshape(-1)[orphans] = np.where(least > SHARP_RADIUS_PX, NO_FRAME, best)
    return result
