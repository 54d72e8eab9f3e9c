"""Everything that you can say about a photograph, one form each: the files that `scan`, `plan` and `build` understand.

python examples/06_your_own_mattes.py OUT

Writes OUT/photos with a file of every kind beside small photographs, then OUT/given.png: the photographs, and the
subjects that follow from your files over grey. Go on with

    mattingmfif scan OUT/photos --recipe quick --out OUT/page
    mattingmfif build --src OUT/photos --recipe quick --out OUT/shards
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from skimage import data

from mattingmfif.matting import MattingSettings, estimate_layers, find_subjects
from mattingmfif.matting.sidecars import read_user_input
from mattingmfif.pixels.colour import decode_srgb, encode_srgb

Picture = npt.NDArray[np.uint8]
WIDTH = 512


def shape_of(photo: Picture) -> Picture:
    """An empty matte of the photograph's size."""
    return np.zeros(photo.shape[:2], np.uint8)


def small(photo: Picture) -> Picture:
    """The photograph, 512 px wide, in OpenCV's order of colours."""
    height = round(photo.shape[0] * WIDTH / photo.shape[1])
    bgr = cv2.cvtColor(photo, cv2.COLOR_GRAY2BGR if photo.ndim == 2 else cv2.COLOR_RGB2BGR)
    return cv2.resize(bgr, (WIDTH, height), interpolation=cv2.INTER_AREA)


def write_photos(folder: Path) -> None:
    """Six photographs, and beside them what a person knows of each."""
    folder.mkdir(parents=True, exist_ok=True)

    def put(name: str, picture: npt.NDArray[np.generic]) -> None:
        cv2.imwrite(str(folder / name), picture)

    # alpha: the matte itself; a second subject is ball.alpha.2.png. plate: the picture without the subjects
    wall = small(data.brick())
    alphas = [shape_of(wall), shape_of(wall)]
    cv2.circle(alphas[0], (170, 300), 90, 255, -1, cv2.LINE_AA)
    cv2.circle(alphas[1], (380, 200), 60, 255, -1, cv2.LINE_AA)
    ball = wall.astype(np.float32)
    for alpha, grain in zip(alphas, (data.gravel(), data.grass()), strict=True):
        alpha[:] = cv2.GaussianBlur(alpha, (0, 0), 1.5)
        share = alpha[..., None] / np.float32(255)
        ball = ball * (1 - share) + np.minimum(small(grain) * np.float32(1.4) + 40, 255) * share
    put("ball.png", ball.round().astype(np.uint8))
    put("ball.alpha.png", alphas[0])
    put("ball.alpha.2.png", alphas[1].astype(np.uint16) * 257)  # 8 or 16 bit
    put("ball.plate.png", wall)

    # box: x0 y0 x1 y1 in pixels, a line a subject
    put("cup.png", small(data.coffee()))
    (folder / "cup.box.txt").write_text("58 6 414 332   # the cup and its saucer\n")

    # mask: hard; the outline is looked for near its edge
    astronaut = small(data.astronaut())
    put("astronaut.png", astronaut)
    mask = shape_of(astronaut)
    outline = "223 15 169 51 158 92 183 161 121 194 51 256 4 425 0 511 511 511 498"
    outline += " 394 396 344 359 256 304 198 267 154 297 92 278 40"
    cv2.fillPoly(mask, [np.array(outline.split(), int).reshape(-1, 2)], 255)
    put("astronaut.mask.png", mask)

    # trimap: 0 background, 128 unknown, 255 subject
    rocket = small(data.rocket())
    put("rocket.png", rocket)
    trimap = shape_of(rocket)
    cv2.rectangle(trimap, (240, 84), (274, 330), 128, -1)
    cv2.rectangle(trimap, (252, 115), (261, 310), 255, -1)
    put("rocket.trimap.png", trimap)

    # scribbles: white strokes on the subject, black ones off it, 128 where you say nothing
    camera = small(data.camera())
    put("camera.png", camera)
    strokes = np.full(camera.shape[:2], 128, np.uint8)
    cv2.polylines(strokes, [np.array([[215, 90], [215, 200], [160, 330], [170, 450]])], False, 255, 9)
    cv2.polylines(strokes, [np.array([[20, 30], [480, 40], [490, 250]])], False, 0, 9)
    cv2.line(strokes, (420, 470), (500, 470), 0, 9)
    put("camera.scribbles.png", strokes)

    # depth: metres in .npy, .pfm and .exr, millimetres in 16-bit .png; NaN (0 in .png) is unknown
    motorcycle, _, disparity_px = data.stereo_motorcycle()
    distance_m = 994.978 * 0.193001 / (np.where(np.isfinite(disparity_px), disparity_px, np.nan) + 31.086)
    photo = small(motorcycle)
    put("motorcycle.png", photo)
    rows, columns = (
        np.linspace(0, size - 1, wanted).round().astype(int)
        for size, wanted in zip(distance_m.shape, photo.shape, strict=False)
    )
    np.save(folder / "motorcycle.depth.npy", distance_m[np.ix_(rows, columns)].astype(np.float32))

    # overrides.csv: your word against the gates; LICENSES.csv: who made it, on which terms
    put("coins.png", small(data.coins()))
    (folder / "overrides.csv").write_text("path,verdict,note\ncoins.png,refuse,not a scene\ncup.png,keep,I like it\n")
    (folder / "LICENSES.csv").write_text(
        "path,licence,author\nball.png,CC0-1.0,CC0Textures\nastronaut.png,public-domain,NASA\n"
    )


def given(folder: Path, name: str) -> Picture:
    """The photograph beside its subjects over grey, as the file beside it says."""
    codes = cv2.imread(str(folder / name))[..., ::-1]
    linear = decode_srgb(np.ascontiguousarray(codes))
    user = read_user_input(folder, name, codes.shape[:2])
    subjects = find_subjects(codes.astype(np.float32) / 255, MattingSettings(), user)
    layers = estimate_layers(linear, subjects, plate_linear=user.plate_linear)
    cut = np.full_like(linear, 0.2)
    for cutout in layers.cutouts:
        cut = cutout.colour_linear * cutout.alpha[..., None] + cut * (1 - cutout.alpha[..., None])
    pair = np.concatenate([codes, encode_srgb(cut)], axis=1)[..., ::-1]
    height = round(pair.shape[0] * 560 / pair.shape[1])
    return cv2.resize(np.ascontiguousarray(pair), (560, height), interpolation=cv2.INTER_AREA)


def main(out: Path) -> list[Path]:
    """Write the photographs with their files, and what follows from those that say what the subjects are."""
    folder = out / "photos"
    write_photos(folder)
    rows = [given(folder, f"{name}.png") for name in ("ball", "cup", "astronaut", "rocket", "camera")]
    cv2.imwrite(str(out / "given.png"), np.concatenate(rows))
    return [out / "given.png"]


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out"))
