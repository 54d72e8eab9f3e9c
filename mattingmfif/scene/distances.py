"""Distances of layers, and the lens that photographs them.

Layers are spread in dioptres (1/m), because blur is affine in dioptres. Notation: f focal length, N f-number, D = 1/z
dioptres. The blur radius between two layers, one of them in focus at s, is

    r_px = f_mm f_m / (2 N) * s / (s - f) * |D1 - D2| * W_px / w_mm  >=  f_mm f_m / (2 N) * |D1 - D2| * W_px / w_mm
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from mattingmfif.optics import Aperture, ThinLens
from mattingmfif.scene.draw import Drawn
from mattingmfif.scene.settings import ApertureSettings, LensSettings

Float32 = npt.NDArray[np.float32]

#: the smallest f-number to which a lens is opened so that layers differ enough
WIDEST_F_NUMBER = 1.0
#: of the largest blur radius, what the gaps between layers may take up together
GAP_SHARE = 0.6


def dioptres(distance_m: float) -> float:
    """1 / distance, 0 for infinity."""
    return 0.0 if math.isinf(distance_m) else 1.0 / distance_m


def metres(dioptre: float) -> float:
    """1 / dioptres, infinity for 0."""
    return math.inf if dioptre <= 0 else 1.0 / dioptre


def px_per_dioptre(lens: ThinLens, image_width_px: float) -> float:
    """Least blur radius in px between two layers one dioptre apart when one of them is in focus."""
    focal_m = lens.focal_length_mm / 1000
    return lens.focal_length_mm * focal_m / (2 * lens.f_number) * image_width_px / lens.sensor_width_mm


def draw_lens(
    settings: LensSettings, aperture: ApertureSettings, streams: Callable[[str], np.random.Generator]
) -> ThinLens:
    """The lens of one sample."""
    rng, faults = streams("lens"), streams("lens-faults")
    axial = settings.axial_colour_dioptres.number(faults)
    return ThinLens(
        focal_length_mm=settings.focal_length_mm.number(rng),
        f_number=settings.f_number.number(rng),
        sensor_width_mm=settings.sensor_width_mm.number(rng),
        aperture=Aperture(
            blades=int(aperture.blades.number(rng)),
            roundness=aperture.roundness.number(rng),
            rotation_deg=aperture.rotation_deg.number(rng),
            cats_eye=aperture.cats_eye.number(rng),
            spherical=aperture.spherical.number(rng),
        ),
        axial_colour_dioptres=(-axial, 0.0, axial),
        field_curvature_dioptres=settings.field_curvature_dioptres.number(faults),
        breathing=settings.breathing.number(faults),
        diffraction=settings.diffraction,
    )


def largest_blur_radius_px(lens: ThinLens, nearest_m: float, farthest_m: float, image_width_px: float) -> float:
    """Largest |blur radius| in px of anything between the two distances, focused anywhere between them."""
    focus_far = farthest_m if math.isfinite(farthest_m) else nearest_m * 1e6
    behind = lens.blur_radius_px(farthest_m, nearest_m, image_width_px)
    in_front = lens.blur_radius_px(nearest_m, focus_far, image_width_px)
    # axial colour and field curvature shift the focus further
    shift = max(map(abs, lens.axial_colour_dioptres)) + abs(lens.field_curvature_dioptres)
    shift_px = shift * lens.blur_per_dioptre_px(nearest_m, image_width_px)
    return float(max(abs(np.max(behind)), abs(np.max(in_front)))) + shift_px


def stopped_down(
    lens: ThinLens, nearest_m: float, farthest_m: float, image_width_px: float, limit_px: float
) -> ThinLens:
    """The lens, stopped down if needed so that nothing between the distances blurs by more than `limit_px`."""
    radius_px = largest_blur_radius_px(lens, nearest_m, farthest_m, image_width_px)
    if radius_px <= limit_px:
        return lens
    return replace(lens, f_number=lens.f_number * radius_px / limit_px)


def spread_distances(
    count: int,
    nearest_m: float,
    farthest_m: float,
    lens: ThinLens,
    image_width_px: float,
    least_gap_px: float,
    limit_px: float,
    rng: np.random.Generator,
) -> tuple[list[float], ThinLens]:
    """`count` distances in metres, nearest first, the first and last at the given ones, and the lens that fits them.

    Those between are drawn evenly in dioptres with at least `least_gap_px` of blur between neighbours, or as much as
    `limit_px` leaves room for. Where the range is too short for the gaps the lens is opened; then it is stopped down
    to the limit.
    """
    near, far = dioptres(nearest_m), dioptres(farthest_m)
    if count == 1:
        return [nearest_m], lens
    gap_px = min(least_gap_px, GAP_SHARE * limit_px / (count - 1))
    needed_px = gap_px * (count - 1)
    available_px = px_per_dioptre(lens, image_width_px) * (near - far)
    if available_px < needed_px:
        lens = replace(lens, f_number=max(WIDEST_F_NUMBER, lens.f_number * available_px / needed_px))
    lens = stopped_down(lens, nearest_m, farthest_m, image_width_px, limit_px)
    gap = min(gap_px / px_per_dioptre(lens, image_width_px), (near - far) / (count - 1))
    slack = max(0.0, (near - far) - gap * (count - 1))  # the gaps may fill the range to the last bit
    # sorted uniforms in the slack, then the gaps put back between them: uniform over all allowed arrangements
    inner = np.sort(rng.uniform(0.0, slack, count - 2))[::-1] if count > 2 else np.empty(0)
    values = [near] + [far + value + gap * (count - 2 - index) for index, value in enumerate(inner)] + [far]
    return [float(metres(value)) for value in values], lens


def ground_distance_m(height: int, width: int, horizon: float, nearest_m: float, farthest_m: float) -> Float32:
    """Distance map `[H,W]` in metres of a ground plane that recedes: dioptres fall linearly with height in the frame.

    The bottom row is at `nearest_m`; at and above the `horizon` (0 the top of the frame, 1 its bottom) stands a wall at
    `farthest_m`. A plane seen through a pinhole has inverse distance affine in the image row.
    """
    rows = np.arange(height, dtype=np.float64)
    horizon_row = horizon * (height - 1)
    down = np.clip((rows - horizon_row) / max(height - 1 - horizon_row, 1e-9), 0.0, 1.0)
    near, far = dioptres(nearest_m), dioptres(farthest_m)
    values = far + (near - far) * down
    with np.errstate(divide="ignore"):
        column = np.where(values > 0, 1.0 / values, np.inf).astype(np.float32)
    return np.repeat(column[:, None], width, axis=1)


def draw_range_m(nearest: Drawn, farthest: Drawn, rng: np.random.Generator) -> tuple[float, float]:
    """Nearest and farthest distance of one sample in metres."""
    return nearest.number(rng), farthest.number(rng)
