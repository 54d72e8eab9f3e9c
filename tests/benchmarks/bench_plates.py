"""How true plates, colours and frames are on scenes whose foreground, alpha and background are known exactly.

    python tests/benchmarks/bench_plates.py                  scikit-image's photographs under composed mattes
    python tests/benchmarks/bench_plates.py --photos DIR     crops of your photographs, 1280 px
    python tests/benchmarks/bench_plates.py --mattes DIR     and DIR's *_image, *_alpha, *_fg, *_bg .png

A scene is foreground * alpha + background * (1 - alpha) in linear light, stored as 8-bit sRGB. It is taken apart once
with its true alpha and once with the alpha solved from the mask alpha > 0.5. Printed are, in sRGB codes of 255 (RMS):

plate   the plate against the true background where a defocused subject reveals it, by how much it does
colour  the cut-out's colour against the true foreground, by alpha * (1 - alpha)
mean    how far the layers put together again are from the photograph, in the mean (not RMS)

and in dB (sRGB, peak 1) over the band that the blur of the outline reaches: `far`, the frame focused on the background,
`near`, the one focused on the subject, both against the frames of the true layers. "photo" is the frame one would get
by leaving the photo itself as plate and colour.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from threadpoolctl import threadpool_limits

from mattingmfif.errors import Refused
from mattingmfif.matting import MattingSettings, Subjects, estimate_layers
from mattingmfif.optics import Aperture, ThinLens
from mattingmfif.optics.psf import psf
from mattingmfif.pixels.colour import decode_srgb, encode_srgb, linear_to_srgb

LENS = ThinLens(50.0, 2.0, 36.0, Aperture())
#: of the long side: the largest blur radius of the recipes
BLUR_SHARE = 0.0125


@dataclass(frozen=True, kw_only=True)
class Exact:
    """A photograph `[H,W,3]` of known layers, all linear."""

    name: str
    photo: np.ndarray
    alpha: np.ndarray
    foreground: np.ndarray
    background: np.ndarray


def mattes(height: int, width: int) -> dict[str, np.ndarray]:
    """Alphas of four kinds: a crisp outline, hair, a soft outline, glass."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[: 2 * height, : 2 * width].astype(np.float32) / 2
    centre_y, centre_x, radius = 0.52 * height, 0.5 * width, 0.28 * height
    angle = np.arctan2(y - centre_y, x - centre_x)
    edge = radius * (1 + 0.15 * np.sin(5 * angle) + 0.04 * np.sin(23 * angle))
    inside = edge - np.hypot(y - centre_y, x - centre_x)

    def half(plane: np.ndarray) -> np.ndarray:
        return cv2.resize(plane.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)

    crisp = half(np.clip(inside + 0.5, 0, 1))
    canvas = np.where(inside > 0, 255, 0).astype(np.uint8)
    for _ in range(500):
        start, bend = rng.uniform(0, 2 * np.pi), rng.normal(0, 0.7)
        steps = np.linspace(0, rng.uniform(0.1, 0.5), 24)
        along = radius * (0.97 + steps)
        points = np.stack(
            [centre_x + along * np.cos(start + bend * steps), centre_y + along * np.sin(start + bend * steps)]
        )
        cv2.polylines(
            canvas, [np.round(2 * points.T).astype(np.int32)], False, 255, int(rng.integers(2, 4)), cv2.LINE_AA
        )
    soft = cv2.GaussianBlur(crisp, (0, 0), 0.004 * width)
    glass = crisp * np.where(half(inside) > 0.05 * width, 0.6, 1.0).astype(np.float32)
    return {"crisp": crisp, "hair": half(canvas) / 255, "soft": soft, "glass": glass}


def composed(names: list[str], pictures: list[np.ndarray], size: tuple[int, int]) -> Iterator[Exact]:
    """Every picture once as the foreground and once as the background, under the four mattes in turn."""
    kinds = list(mattes(*size).items())
    for k, name in enumerate(names):
        kind, alpha = kinds[k % len(kinds)]
        other = (k + 1) % len(names)
        yield compose(f"{kind}: {name[:9]} on {names[other][:9]}", alpha, pictures[k], pictures[other])


def compose(name: str, alpha: np.ndarray, foreground: np.ndarray, background: np.ndarray) -> Exact:
    """The photograph as a file would hold it."""
    photo = foreground * alpha[..., None] + background * (1 - alpha[..., None])
    photo = decode_srgb(encode_srgb(np.clip(photo, 0, 1), 8))
    return Exact(name=name, photo=photo, alpha=alpha, foreground=foreground, background=background)


def stored(folder: Path) -> Iterator[Exact]:
    """The scenes of a folder of exact mattes."""
    for file in sorted(folder.glob("*_image.png")):
        planes = [
            cv2.imread(str(file).replace("_image", f"_{part}"), cv2.IMREAD_UNCHANGED) for part in ("alpha", "fg", "bg")
        ]
        alpha = planes[0][..., 0] if planes[0].ndim == 3 else planes[0]
        cover = alpha.astype(np.float32) / np.iinfo(alpha.dtype).max
        foreground, background = (decode_srgb(np.ascontiguousarray(p[..., 2::-1])) for p in planes[1:])
        yield compose(f"file: {file.stem[:22]}", cover, foreground, background)


def cropped(photo: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The middle of a picture (linear), at the size asked for."""
    height, width = size
    scale = max(height / photo.shape[0], width / photo.shape[1])
    full = (max(width, round(photo.shape[1] * scale)), max(height, round(photo.shape[0] * scale)))
    photo = cv2.resize(photo, full, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    top, left = (full[1] - height) // 2, (full[0] - width) // 2
    return np.ascontiguousarray(np.clip(photo[top : top + height, left : left + width], 0, 1))


def frames(colour: np.ndarray, alpha: np.ndarray, plate: np.ndarray, disc: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(far, near): focused on the plate and on the subject, the other one out of focus; exact for two flat layers."""

    def soft(plane: np.ndarray) -> np.ndarray:
        return cv2.filter2D(plane, -1, disc, borderType=cv2.BORDER_REPLICATE)

    cover = alpha[..., None]
    far = soft(colour * cover) + plate * (1 - soft(alpha))[..., None]
    return far, colour * cover + soft(plate) * (1 - cover)


def judge(scene: Exact, *, solved: bool) -> tuple[float, ...]:
    """(plate, colour, mean, far dB, near dB, photo's far dB, photo's near dB)."""
    mask = scene.alpha > 0.5 if solved else scene.alpha
    subjects = Subjects(masks=[mask], segmenter="given", why="", scores=[{}], are_alphas=not solved)
    layers = estimate_layers(scene.photo, subjects, MattingSettings(max_residual_codes=255.0))
    cutout = layers.cutouts[0]
    disc = np.ascontiguousarray(psf(LENS, BLUR_SHARE * max(scene.alpha.shape)))
    spread = cv2.filter2D(scene.alpha, -1, disc, borderType=cv2.BORDER_REPLICATE)
    band = (spread > 0.01) & (spread < 0.99)

    def rms(a: np.ndarray, b: np.ndarray, weight: np.ndarray) -> float:
        square = ((linear_to_srgb(np.clip(a, 0, 1)) - linear_to_srgb(b)) ** 2).mean(axis=-1)
        return float(np.sqrt((square * weight).sum() / max(weight.sum(), 1e-6)) * 255)

    true = frames(scene.foreground, scene.alpha, scene.background, disc)
    ours = frames(cutout.colour_linear, cutout.alpha, layers.plate_linear, disc)
    naive = frames(scene.photo, scene.alpha, scene.photo, disc)
    figures = [
        20 * np.log10(255 / max(rms(a, b, band), 1e-6)) for a, b in zip([*ours, *naive], [*true, *true], strict=True)
    ]
    plate = rms(layers.plate_linear, scene.background, (1 - spread) * band * (scene.alpha > 0))
    colour = rms(cutout.colour_linear, scene.foreground, scene.alpha * (1 - scene.alpha))
    return plate, colour, layers.residual["mean"], *figures


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--mattes", type=Path)
    parser.add_argument("--long-side", type=int, default=1280)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    size = (round(options.long_side * 0.625), options.long_side)
    if options.photos:
        files = sorted(options.photos.glob("*.jpg"))
        names = [file.stem for file in files]
        pictures = [
            cropped(decode_srgb(np.ascontiguousarray(cv2.imread(str(file))[..., ::-1])), size) for file in files
        ]
    else:
        from skimage import data

        names = ["astronaut", "coffee", "chelsea", "rocket"]
        pictures = [cropped(decode_srgb(getattr(data, name)()), size) for name in names]
    scenes = [*composed(names, pictures, size), *(stored(options.mattes) if options.mattes else [])]
    with threadpool_limits(1):
        for solved in (False, True):
            print(
                f"\n{'alpha solved from the mask' if solved else 'alpha as it is':<34}"
                "  plate colour   mean    far   near   (photo: far   near)"
            )
            rows = []
            for scene in scenes:
                try:
                    row = judge(scene, solved=solved)
                except Refused as refused:
                    print(f"{scene.name:<34}  refused: {refused}")
                    continue
                rows.append(row)
                print(f"{scene.name:<34}" + "".join(f"{value:7.2f}" for value in row), flush=True)
            print(f"{'mean':<34}" + "".join(f"{value:7.2f}" for value in np.mean(rows, axis=0)))


if __name__ == "__main__":
    main()
