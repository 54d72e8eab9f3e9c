"""The photographs that scikit-image carries inside its wheel, for whoever has none at hand. No network is used.

Licences as scikit-image's documentation of `skimage.data` states them. The motorcycle comes with a measured depth map:
distance = focal length * baseline / (disparity + dx), from the calibration of the Middlebury 2014 stereo benchmark.
"""

from __future__ import annotations

import csv
import io
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from mattingmfif.errors import EXIT_IO, UserError
from mattingmfif.photo.sources import LICENCE_FILE

MOTORCYCLE_FOCAL_LENGTH_PX = 994.978
MOTORCYCLE_DX_PX = 31.086
MOTORCYCLE_BASELINE_MM = 193.001
#: folder of depth maps (metres along the axis, NaN unknown) beside the photographs, named like them
DEPTH_FOLDER = "depth"


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One photograph of scikit-image: its file there, and who made it on which terms."""

    file: str
    licence: str
    author: str
    url: str = "https://scikit-image.org/docs/stable/api/skimage.data.html"


SAMPLES: tuple[Sample, ...] = (
    Sample(file="astronaut.png", licence="public-domain", author="NASA"),
    Sample(file="brick.png", licence="CC0-1.0", author="CC0Textures"),
    Sample(file="camera.png", licence="CC0-1.0", author="Lav Varshney"),
    Sample(file="coffee.png", licence="CC0-1.0", author="Rachel Michetti"),
    Sample(file="grass.png", licence="CC0-1.0", author="CC0Textures"),
    Sample(file="gravel.png", licence="CC0-1.0", author="CC0Textures"),
    Sample(
        file="motorcycle_left.png",
        licence="unknown",
        author="Nesic, Westling, Wang, Kitajima, Krathwohl, Scharstein (Middlebury 2014 stereo benchmark)",
        url="https://vision.middlebury.edu/stereo/data/scenes2014/",
    ),
    Sample(file="rocket.jpg", licence="public-domain", author="SpaceX"),
)


def write_samples(folder: Path | str) -> list[Path]:
    """Write the sample photographs, LICENSES.csv and the motorcycle's depth map into `folder`; returns the photographs.

    Raises UserError where scikit-image lacks a file or the folder cannot be written.
    """
    target = Path(folder)
    source = _skimage_data()
    try:
        target.mkdir(parents=True, exist_ok=True)
        written = []
        for sample in SAMPLES:
            name = sample.file.replace("motorcycle_left", "motorcycle")
            shutil.copyfile(source / sample.file, target / name)
            written.append(target / name)
        (target / DEPTH_FOLDER).mkdir(exist_ok=True)
        np.save(target / DEPTH_FOLDER / "motorcycle.npy", _motorcycle_distance_m(source))
        (target / LICENCE_FILE).write_text(_licences_csv([path.name for path in written]), encoding="utf-8")
    except FileNotFoundError as error:
        raise UserError(f"this scikit-image lacks {error.filename}; install scikit-image 0.25 or 0.26") from error
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror or error}", EXIT_IO) from error
    return written


def _skimage_data() -> Path:
    spec = find_spec("skimage")  # found, not imported: importing it takes a second
    if spec is None or spec.origin is None:
        raise UserError("scikit-image is not installed; its wheel carries the sample photographs")
    return Path(spec.origin).parent / "data"


def _motorcycle_distance_m(source: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    with np.load(source / "motorcycle_disp.npz", allow_pickle=False) as archive:
        disparity_px = archive["arr_0"].astype(np.float64)
    disparity_px[~np.isfinite(disparity_px)] = np.nan
    distance_mm = MOTORCYCLE_FOCAL_LENGTH_PX * MOTORCYCLE_BASELINE_MM / (disparity_px + MOTORCYCLE_DX_PX)
    return (distance_mm / 1000.0).astype(np.float32)


def _licences_csv(names: list[str]) -> str:
    stream = io.StringIO()
    rows = csv.writer(stream, lineterminator="\n")
    rows.writerow(["path", "licence", "author", "url"])
    for name, sample in zip(names, SAMPLES, strict=True):
        rows.writerow([name, sample.licence, sample.author, sample.url])
    return stream.getvalue()
