"""The lens opening: its outline, and points spread evenly over it.

Notation. `u` is a point of the opening on the unit disc as the photographer sees it (x right, y down). An opening is
star-shaped about a middle `m`: u = m + tau B(theta) (cos theta, sin theta), tau in 0..1, B the outline. A `field`
position is in [-1, 1] along both axes of the picture, (1, 1) its lower right corner.

Spherical aberration is a radial weighting of the disc of light: behind the focus plane the density over the opening is
1 + s (2 tau^2 - 1), in front of it 1 - s (2 tau^2 - 1). It is brought about by moving the *rays* (tau -> tau'), not by
weighting them, so that one ray u stays one ray in every layer and the aperture integral keeps its meaning.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from mattingmfif.errors import UserError

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0
_OUTLINE_STEPS = 2048


@dataclass(frozen=True)
class Aperture:
    """Shape of the lens opening; all values are plain numbers, so that a recipe can draw and record them."""

    blades: int = 0  # 0: a circle; n >= 3: a regular polygon whose corners lie on the unit circle
    roundness: float = 0.0  # 0: straight blades, 1: a circle again
    rotation_deg: float = 0.0  # of the first corner from the x axis, clockwise as seen in the picture
    cats_eye: float = 0.0  # displacement of the second rim at the edge of the field, in aperture radii, 0..1
    spherical: float = 0.0  # -1..1; positive: bright rim behind the focus plane, bright middle in front of it

    def __post_init__(self) -> None:
        if self.blades != int(self.blades) or self.blades < 0 or self.blades in (1, 2):
            raise UserError(f"blades: {self.blades}; allowed: 0 (a circle) or a whole number of 3 or more")
        for name, low, high in (("roundness", 0.0, 1.0), ("cats_eye", 0.0, 1.0), ("spherical", -1.0, 1.0)):
            if not low <= getattr(self, name) <= high:
                raise UserError(f"{name}: {getattr(self, name)}; allowed: {low} to {high}")
        if not math.isfinite(self.rotation_deg):
            raise UserError(f"rotation_deg: {self.rotation_deg}; allowed: a finite angle in degrees")

    @property
    def is_circle(self) -> bool:
        """True when the opening on the axis is a full disc."""
        return self.blades == 0 or self.roundness == 1.0

    @property
    def uncut(self) -> Aperture:
        """The opening without a second rim."""
        return Aperture(self.blades, self.roundness, self.rotation_deg, 0.0, self.spherical)

    def second_rim(self, field: tuple[float, float]) -> tuple[float, float] | None:
        """Middle of the unit circle that cuts the opening at this field position; None where nothing does."""
        if self.cats_eye == 0.0 or not any(field):
            return None
        return (-self.cats_eye * field[0], -self.cats_eye * field[1])

    def outline(self, theta: Float64) -> Float64:
        """Distance of the on-axis outline from the middle in direction theta (radians, clockwise in the picture)."""
        if self.is_circle:
            return np.ones_like(theta)
        sector = 2.0 * math.pi / self.blades
        within = np.mod(theta - math.radians(self.rotation_deg), sector) - sector / 2.0
        polygon = math.cos(sector / 2.0) / np.cos(within)
        return (1.0 - self.roundness) * polygon + self.roundness

    def middle(self, field: tuple[float, float]) -> tuple[float, float]:
        """A point inside the opening at this field position, from which its outline is described."""
        shift = self.cats_eye * math.hypot(*field)
        if shift == 0.0:
            return (0.0, 0.0)
        inward = math.atan2(-field[1], -field[0])
        ahead, behind = self.outline(np.array([inward, inward + math.pi]))
        half_way = 0.5 * (max(-float(behind), shift - 1.0) + min(float(ahead), shift + 1.0))
        return (half_way * math.cos(inward), half_way * math.sin(inward))

    def outline_at(self, theta: Float64, field: tuple[float, float]) -> Float64:
        """Distance of the outline from `middle(field)`, where a second rim cuts the opening (cat's eye).

        The second rim is a unit circle displaced by -cats_eye * field: it takes away the side of the opening that
        looks away from the middle of the picture.
        """
        mx, my = self.middle(field)
        rim = self.second_rim(field)
        if rim is None:
            return self.outline(theta)
        cx, cy = np.cos(theta), np.sin(theta)
        to_rim_x, to_rim_y = rim[0] - mx, rim[1] - my
        along = to_rim_x * cx + to_rim_y * cy
        second = along + np.sqrt(np.maximum(along**2 + 1.0 - to_rim_x**2 - to_rim_y**2, 0.0))
        low, high = np.zeros_like(theta), np.full_like(theta, 2.5)
        for _ in range(44):  # the opening is star-shaped about its middle: bisect for the first rim
            half = 0.5 * (low + high)
            px, py = mx + half * cx, my + half * cy
            inside = np.hypot(px, py) <= self.outline(np.arctan2(py, px))
            low, high = np.where(inside, half, low), np.where(inside, high, half)
        return np.minimum(low, second)


@dataclass(frozen=True)
class ApertureAt(Aperture):
    """An opening as it is seen from one field position, wherever it is asked for."""

    at: tuple[float, float] = (0.0, 0.0)

    def middle(self, field: tuple[float, float]) -> tuple[float, float]:
        """A point inside the opening as seen from `at`."""
        return super().middle(self.at)

    def second_rim(self, field: tuple[float, float]) -> tuple[float, float] | None:
        """Middle of the second rim as seen from `at`."""
        return super().second_rim(self.at)

    def outline_at(self, theta: Float64, field: tuple[float, float]) -> Float64:
        """Distance of the outline from `middle`, as seen from `at`."""
        return super().outline_at(theta, self.at)


def seen_from(aperture: Aperture, field: tuple[float, float]) -> Aperture:
    """The opening pinned to a field position; itself where it looks the same from everywhere."""
    if aperture.cats_eye == 0.0:
        return aperture
    values = {item.name: getattr(aperture, item.name) for item in fields(Aperture)}
    return ApertureAt(**values, at=field)


def spread_radii(spherical: float, side: int, tau: Float64) -> Float64:
    """Where evenly spread radii tau go, so that their density becomes 1 + s (2 tau^2 - 1), s = side * spherical."""
    s = spherical * side
    if s == 0.0:
        return tau
    area = tau**2  # the share of the rays inside; solve (1 - s) t + s t^2 = area for t = tau'^2
    return np.sqrt(2.0 * area / ((1.0 - s) + np.sqrt((1.0 - s) ** 2 + 4.0 * s * area)))


@lru_cache(maxsize=256)
def aperture_points(aperture: Aperture, count: int, side: int = 1, field: tuple[float, float] = (0.0, 0.0)) -> Float32:
    """`count` points spread evenly over the opening, float32 `[count, 2]` (x right, y down), read-only.

    A Vogel spiral carried to the outline by the map that keeps areas, so that every point stands for the same light.
    Point i is the same ray for both sides of the focus (`side` +1 behind, -1 in front) and all field positions.
    """
    index = np.arange(count)
    tau = np.sqrt((index + 0.5) / count)
    turn = np.mod((index + 0.5) * GOLDEN, 1.0)
    if aperture.is_circle and aperture.cats_eye == 0.0:
        theta = 2.0 * math.pi * turn
        reach = np.ones(count)
    else:
        corners = np.linspace(0.0, 2.0 * math.pi, _OUTLINE_STEPS + 1)
        squared = aperture.outline_at(corners, field) ** 2
        share = np.concatenate([[0.0], np.cumsum(0.5 * (squared[1:] + squared[:-1]))])
        theta = np.interp(turn, share / share[-1], corners)
        reach = aperture.outline_at(theta, field) if count < 65536 else np.interp(theta, corners, np.sqrt(squared))
    tau = spread_radii(aperture.spherical, side, tau)
    mx, my = aperture.middle(field)
    points = np.empty((count, 2), np.float32)
    points[:, 0] = mx + tau * reach * np.cos(theta)
    points[:, 1] = my + tau * reach * np.sin(theta)
    points.setflags(write=False)
    return points
