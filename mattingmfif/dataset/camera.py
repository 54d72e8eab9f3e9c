"""From the camera record of a sample to the lens and to blur radii.

The keys of `lens_options` are fields of `ThinLens`. The radius is that on the axis at the sensor's middle channel, in
pixels of the frame's own focus; axial colour and field curvature shift it and breathing scales it, so for a sample
that drew them a radius map is nominal.
"""

from __future__ import annotations

from mattingmfif.dataset.sample import CameraRecord, Float32
from mattingmfif.optics.lens import ThinLens


def lens_of(camera: CameraRecord) -> ThinLens:
    """The lens of the record; UserError or TypeError if the record holds no possible lens."""
    from mattingmfif.optics.aperture import Aperture

    return ThinLens(
        camera.focal_length_mm,
        camera.f_number,
        camera.sensor_width_mm,
        Aperture(**camera.aperture),  # type: ignore[arg-type]
        **camera.lens_options,
    )


def radius_px(camera: CameraRecord, distance_m: Float32, focus_distance_m: float) -> Float32:
    """Signed blur radius, float32 px of the shape of `distance_m` (metres, infinity allowed)."""
    return lens_of(camera).blur_radius_px(distance_m, focus_distance_m, camera.image_width_px)
