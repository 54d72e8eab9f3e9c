"""The image of a point: the aperture, anti-aliased, for any fractional radius.

A layer is bilinear between its pixel centres, so the light of one pixel lands as the aperture's disc of radius |r|
convolved with the 2-px-wide tent. The kernel here is exactly that: dense points of the opening, each laid down with its
bilinear footprint, divided by their number. Radius 0 is one pixel; a positive radius (behind the focus plane) shows the
aperture upright, a negative one turned by 180 degrees. For a surface whose radius changes by `slope` px per px (x, y),
the ray u ends at r u / (1 + slope . u): the disc is drawn in perspective.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from mattingmfif.errors import UserError
from mattingmfif.optics.aperture import Aperture, aperture_points
from mattingmfif.optics.kernels import splat_tent
from mattingmfif.optics.lens import WAVELENGTH_UM, ThinLens

Float32 = npt.NDArray[np.float32]

_POINTS_PER_PX = 24
_MOST_POINTS = 1 << 19
#: Airy patterns with a first dark ring under this radius change nothing that can be seen
NEGLIGIBLE_AIRY_PX = 0.25


def psf(
    lens: ThinLens,
    radius_px: float,
    field: tuple[float, float] = (0.0, 0.0),
    channel: int | None = None,
    *,
    focus_distance_m: float | None = None,
    image_width_px: float | None = None,
) -> Float32:
    """The image of a point blurred to the signed `radius_px`: float32 `[n, n]`, n odd, summing to 1.

    `field` is the position in the picture, -1..1 each way, (1, 1) the lower right corner. With a `channel` (0 red, 1
    green, 2 blue) the lens's axial colour and diffraction are included; these need `focus_distance_m` (axial colour)
    and `image_width_px` (both), because their size in px depends on them.
    """
    radius = float(radius_px)
    if not math.isfinite(radius):
        raise UserError(f"radius_px: {radius_px}; allowed: a finite number")
    if len(field) != 2 or not all(-1.0 <= f <= 1.0 for f in field):
        raise UserError(f"field: {field}; allowed: two numbers from -1 to 1")
    if channel is None:
        return aperture_kernel(lens.aperture, radius, (float(field[0]), float(field[1])))
    if channel not in (0, 1, 2):
        raise UserError(f"channel: {channel}; allowed: 0 (red), 1 (green), 2 (blue) or None")
    if any(lens.axial_colour_dioptres):
        if focus_distance_m is None or image_width_px is None:
            raise UserError("channel: axial colour needs focus_distance_m and image_width_px as well")
        radius += lens.axial_colour_dioptres[channel] * lens.blur_per_dioptre_px(focus_distance_m, image_width_px)
    kernel = aperture_kernel(lens.aperture, radius, (float(field[0]), float(field[1])))
    if lens.diffraction:
        if image_width_px is None:
            raise UserError("channel: diffraction needs image_width_px as well")
        airy = airy_kernel(lens, channel, image_width_px)
        if airy is not None:
            kernel = _convolve_full(kernel, airy)
    return kernel


@lru_cache(maxsize=512)
def aperture_kernel(
    aperture: Aperture,
    radius_px: float,
    field: tuple[float, float] = (0.0, 0.0),
    slope: tuple[float, float] = (0.0, 0.0),
) -> Float32:
    """The kernel of one signed radius, field position and slope of radius: float32 `[n, n]`, sum 1, read-only."""
    radius = abs(radius_px)
    wanted = max(4096.0, _POINTS_PER_PX * math.pi * radius * radius)
    count = min(_MOST_POINTS, 1 << math.ceil(math.log2(wanted)))
    points, rim = _points(aperture, count, 1 if radius_px > 0 else -1, field)
    widest = radius / max(0.25, 1.0 - math.hypot(*slope))
    half = math.ceil(widest) + 1
    total = np.zeros((2 * half + 1, 2 * half + 1), np.float64)
    cut = np.float32(rim[0] if rim else 0.0), np.float32(rim[1] if rim else 0.0), rim is not None
    splat_tent(points, *cut, float(radius_px), float(slope[0]), float(slope[1]), total)
    total /= total.sum()
    while half > 0 and not (total[0].any() or total[-1].any() or total[:, 0].any() or total[:, -1].any()):
        total = total[1:-1, 1:-1]
        half -= 1
    kernel = np.ascontiguousarray(total, np.float32)
    kernel.setflags(write=False)
    return kernel


def _points(
    aperture: Aperture, count: int, side: int, field: tuple[float, float]
) -> tuple[Float32, tuple[float, float] | None]:
    """Points spread evenly over the opening, and the middle of a second rim where one has still to cut them.

    At least `count` of them, or what of them the rim leaves.
    """
    rim = aperture.second_rim(field)
    if rim is None or aperture.spherical != 0.0:
        return aperture_points(aperture, count, side, field), None
    # cheaper than carrying a new set of points to every outline: those of the whole opening, cut
    return aperture_points(aperture.uncut, min(_MOST_POINTS, 2 * count), side), rim


def airy_kernel(lens: ThinLens, channel: int, image_width_px: float) -> Float32 | None:
    """The Airy pattern of the f-number over the pixels of one channel, sum 1; None where it is negligible.

    Negligible is a first dark ring under NEGLIGIBLE_AIRY_PX px. The pattern (2 J1(x) / x)^2, x = pi d / (lambda N), is
    averaged over each pixel's area and cut where its rings fall under a thousandth of the middle.
    """
    ring = lens.airy_radius_px(image_width_px, channel)
    if ring < NEGLIGIBLE_AIRY_PX:
        return None
    from scipy.special import j1

    half = math.ceil(4.3 * ring)
    fine = max(5, 2 * math.ceil(8.0 / ring) + 1)
    offsets = (np.arange((2 * half + 1) * fine) - (half * fine + fine // 2)) / fine
    distance = np.hypot(offsets[:, None], offsets[None, :])
    pixel_um = lens.sensor_width_mm * 1000.0 / image_width_px
    x = np.pi * distance * pixel_um / (WAVELENGTH_UM[channel] * lens.f_number)
    ratio = np.where(x < 1e-6, 0.5, j1(np.maximum(x, 1e-6)) / np.maximum(x, 1e-6))
    fine_pattern = (2.0 * ratio) ** 2
    pattern = fine_pattern.reshape(2 * half + 1, fine, 2 * half + 1, fine).sum((1, 3))
    return np.ascontiguousarray(pattern / pattern.sum(), np.float32)


def _convolve_full(first: Float32, second: Float32) -> Float32:
    from scipy.signal import fftconvolve

    both = np.maximum(fftconvolve(first.astype(np.float64), second.astype(np.float64), mode="full"), 0.0)
    return np.asarray(both / both.sum(), np.float32)
