"""A thin lens in millimetres, metres and pixels.

Notation. f focal length, N f-number, s focus distance, z distance of the object, w sensor width, W the pixels across
it, v = f s / (s - f) the image distance. The blur radius on the sensor is affine in inverse distance,

    r = f / (2 N) * v * (1 / s - 1 / z) * W / w        pixels; negative in front of the focus plane, positive behind,

which is half the diameter (f / N) f / (s - f) |1 - s / z| of the textbooks, with a sign. Distances are along the axis.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from mattingmfif.errors import UserError
from mattingmfif.optics.aperture import Aperture

#: blur of a smaller radius is not visible: such a layer is kept bit for bit
INVISIBLE_RADIUS_PX = 0.25

#: wavelengths of the sensor's channels, for diffraction
WAVELENGTH_UM = (0.60, 0.54, 0.46)


@dataclass(frozen=True)
class ThinLens:
    """Focal length and sensor width in mm, f-number, opening, and the faults of a real lens (all off by default)."""

    focal_length_mm: float
    f_number: float
    sensor_width_mm: float
    aperture: Aperture = field(default_factory=Aperture)
    # focus shift of red, green and blue, in dioptres: a positive channel focuses nearer than the lens is set to
    axial_colour_dioptres: tuple[float, float, float] = field(default=(0.0, 0.0, 0.0), kw_only=True)
    # focus shift in the corners, in dioptres, growing with the square of the distance from the middle
    field_curvature_dioptres: float = field(default=0.0, kw_only=True)
    # share of the thin lens's change of magnification with focus: 0 registered frames, 1 all of it
    breathing: float = field(default=0.0, kw_only=True)
    # spread the light by the Airy pattern of the f-number as well
    diffraction: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        for name in ("focal_length_mm", "f_number", "sensor_width_mm"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise UserError(f"{name}: {value}; allowed: a finite number above 0")
        object.__setattr__(self, "axial_colour_dioptres", tuple(float(d) for d in self.axial_colour_dioptres))
        if len(self.axial_colour_dioptres) != 3 or not all(map(math.isfinite, self.axial_colour_dioptres)):
            raise UserError(f"axial_colour_dioptres: {self.axial_colour_dioptres}; allowed: three finite numbers")
        if not math.isfinite(self.field_curvature_dioptres):
            raise UserError(f"field_curvature_dioptres: {self.field_curvature_dioptres}; allowed: a finite number")
        if not 0.0 <= self.breathing <= 1.0:
            raise UserError(f"breathing: {self.breathing}; allowed: 0 to 1")

    @property
    def is_plain(self) -> bool:
        """True when the radius is one number a layer: no axial colour, no field curvature."""
        return not any(self.axial_colour_dioptres) and self.field_curvature_dioptres == 0.0

    def check_focus(self, focus_distance_m: float) -> float:
        """The focus distance as a float; refused when not beyond the focal length (infinity is welcome)."""
        s = float(focus_distance_m)
        if math.isnan(s) or s * 1000.0 <= self.focal_length_mm:
            raise UserError(
                f"focus_distance_m: {s:g} m does not lie beyond the focal length ({self.focal_length_mm:g} mm); "
                "allowed: more than that, up to infinity"
            )
        return s

    def image_distance_mm(self, focus_distance_m: float) -> float:
        """The image distance v = f s / (s - f) in mm when focused at `focus_distance_m`."""
        s = self.check_focus(focus_distance_m)
        return 1.0 / (1.0 / self.focal_length_mm - 1.0 / (s * 1000.0))

    def blur_per_dioptre_px(self, focus_distance_m: float, image_width_px: float) -> float:
        """Change of the blur radius, px, by one dioptre (1/m) of object distance, at this focus."""
        if not image_width_px > 0:
            raise UserError(f"image_width_px: {image_width_px}; allowed: more than 0")
        v = self.image_distance_mm(focus_distance_m)
        return self.focal_length_mm / (2.0 * self.f_number) * v / 1000.0 * image_width_px / self.sensor_width_mm

    @overload
    def blur_radius_px(self, distance_m: float, focus_distance_m: float, image_width_px: float) -> float: ...
    @overload
    def blur_radius_px(
        self, distance_m: npt.NDArray[Any], focus_distance_m: float, image_width_px: float
    ) -> npt.NDArray[np.float32]: ...

    def blur_radius_px(
        self, distance_m: float | npt.NDArray[Any], focus_distance_m: float, image_width_px: float
    ) -> float | npt.NDArray[np.float32]:
        """Signed blur radius in px (negative in front of the focus plane, positive behind) of objects at `distance_m`.

        A number gives a float, an array gives float32 of its shape; distances are positive metres and may be infinite.
        `image_width_px` is the number of pixels that `sensor_width_mm` spans.
        """
        per_dioptre = self.blur_per_dioptre_px(focus_distance_m, image_width_px)
        at_focus = 1.0 / float(focus_distance_m)
        if np.ndim(distance_m) == 0:
            z = float(distance_m)  # type: ignore[arg-type]
            if not z > 0:
                raise UserError(f"distance_m: {z}; allowed: more than 0, up to infinity")
            return per_dioptre * (at_focus - 1.0 / z)
        z_map = np.asarray(distance_m)
        if not (z_map.min() > 0):  # also false for NaN
            raise UserError("distance_m: some values are not positive (or NaN); allowed: more than 0, up to infinity")
        inverse: npt.NDArray[np.float32] = np.divide(-per_dioptre, z_map, dtype=np.float32)
        inverse += np.float32(per_dioptre * at_focus)
        return inverse

    def airy_radius_px(self, image_width_px: float, channel: int = 1) -> float:
        """Radius in px of the first dark ring of the Airy pattern, 1.22 lambda N, for a distant object."""
        return 1.22 * WAVELENGTH_UM[channel] * self.f_number / 1000.0 * image_width_px / self.sensor_width_mm
