"""A lens study: one scene, five apertures, what each does to the lights behind, and a sheet of points of light.

python examples/02_lens_study.py OUT
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
from skimage.data import astronaut

from mattingmfif import Aperture, Layer, Scene, ThinLens, render
from mattingmfif.optics import psf
from mattingmfif.pixels.colour import decode_srgb, encode_srgb

APERTURES = {
    "circle": Aperture(),
    "5 blades": Aperture(blades=5, rotation_deg=18),
    "7 rounded blades": Aperture(blades=7, roundness=0.5),
    "cat's eye": Aperture(cats_eye=0.9),
    "bright rim": Aperture(spherical=0.8),
}


#: the lens of each column of the sheet
CHARACTERS = {
    "circle": ThinLens(50, 2, 36),
    "6 blades": ThinLens(50, 2, 36, Aperture(blades=6, rotation_deg=10)),
    "rounded": ThinLens(50, 2, 36, Aperture(blades=6, roundness=0.6, rotation_deg=10)),
    "cat's eye": ThinLens(50, 2, 36, Aperture(cats_eye=0.8)),
    "spherical": ThinLens(50, 2, 36, Aperture(spherical=0.9)),
    "axial colour": ThinLens(50, 2, 36, axial_colour_dioptres=(-0.04, 0.0, 0.04)),
    "diffraction": ThinLens(50, 45, 36, diffraction=True),
}
#: signed radius and field position of each row: in front, behind, behind in the lower right corner, in focus
ROWS = {
    "in front": (-24.0, (0.0, 0.0)),
    "behind": (24.0, (0.0, 0.0)),
    "corner": (24.0, (0.9, 0.9)),
    "focus": (0.0, (0.0, 0.0)),
}


def sheet() -> np.ndarray:
    """The image of a point for every lens (columns) and place (rows), uint8 RGB."""
    side = 81
    rows = []
    for row, (radius_px, field) in ROWS.items():
        tiles = []
        for name, lens in CHARACTERS.items():
            tile = np.zeros((side, side, 3), np.float32)
            for channel in range(3):
                light = psf(lens, radius_px, field, channel, focus_distance_m=2.0, image_width_px=3840)
                half = light.shape[0] // 2
                middle = slice(side // 2 - half, side // 2 + half + 1)
                tile[middle, middle, channel] = light
            codes = encode_srgb(np.clip(tile / (2.2 * np.median(tile[tile > tile.max() / 4])), 0.0, 1.0))
            tile_8bit = np.ascontiguousarray(cv2.resize(codes, None, fx=1.6, fy=1.6, interpolation=cv2.INTER_CUBIC))
            for text, place in (
                (name if row == "in front" else "", (4, 12)),
                (row if name == "circle" else "", (4, 126)),
            ):
                cv2.putText(tile_8bit, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, (230, 230, 230), 1, cv2.LINE_AA)
            tiles.append(tile_8bit)
        rows.append(np.concatenate(tiles, axis=1))
    return np.concatenate(rows, axis=0)


def scene() -> Scene:
    """A portrait's centre on a disc at 1 m before a dark wall with lights at 5 m."""
    photo = cv2.resize(decode_srgb(astronaut()), (240, 240), interpolation=cv2.INTER_AREA)
    y, x = np.mgrid[:240, :240]
    disc = np.clip(60.5 - np.hypot(x - 108, y - 72), 0, 1).astype(np.float32)
    wall = np.full((240, 240, 3), (0.01, 0.012, 0.02), np.float32)
    rng = np.random.default_rng(3)
    for row, column in rng.integers(8, 232, (40, 2)):
        wall[row, column] = rng.uniform(0.3, 1.0, 3) * 90.0  # lamps are far brighter than white
    return Scene([Layer(photo, disc, 1.0), Layer(wall, np.ones_like(disc), 5.0)])


def main(out: Path) -> list[Path]:
    """Write the five frames side by side, and the sheet of points; return the paths."""
    out.mkdir(parents=True, exist_ok=True)
    frames = []
    for name, aperture in APERTURES.items():
        lens = ThinLens(50, 2.0, sensor_width_mm=10.8, aperture=aperture)
        print(f"{name}: lights {lens.blur_radius_px(5.0, 1.0, 240):+.1f} px")
        frames.append(encode_srgb(render(scene(), lens, focus_distance_m=1.0)))
    path = out / "lens_study.png"
    cv2.imwrite(str(path), np.concatenate(frames, axis=1)[..., ::-1])
    cv2.imwrite(str(out / "lens_points.png"), sheet()[..., ::-1])
    return [path, out / "lens_points.png"]


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out"))
