"""One sample in memory: frames, target, maps and the record of how they were made.

Arrays have the codes that are stored: frames and target uint8 or uint16 sRGB `[H,W,3]`, mattes uint16 `[H,W]`
(65535 = 1), `sharpest_frame` uint8 (255 = none), `boundary` uint8 (0 or 255), trust maps uint8 (255 = 1). Distances
are metres along the axis, infinity allowed. Layers and mattes are listed nearest first; the last layer is the opaque
background and has no matte.

Depth is stored as uint16 inverse distance, code = round((1 / depth_m - offset) / scale), where offset is the least
inverse distance of the map (0 where anything is infinitely far, so that code 0 is infinity) and scale spans the rest:
the rounding is at most scale / 2 in 1 / m, that is half of 1/65535 of the map's range.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

FORMAT_VERSION = 1
MIN_FRAMES, MAX_FRAMES, MAX_ALPHAS = 2, 7, 6
NO_FRAME = 255
#: a pixel whose least |radius| is above this is sharp in no frame
SHARP_RADIUS_PX = 0.5

Array = npt.NDArray[Any]
Codes8 = npt.NDArray[np.uint8]
Codes16 = npt.NDArray[np.uint16]
Float32 = npt.NDArray[np.float32]

_KEY = re.compile(r"[0-9a-z][0-9a-z_-]{0,127}")
_SPLIT = re.compile(r"[a-z][a-z0-9]{0,31}")
_SHA256 = re.compile(r"[0-9a-f]{64}")

#: image columns in the order of the schema; frame_k, alpha_k and trust_k are null where a sample has fewer
FRAME_COLUMNS = tuple(f"frame_{k}" for k in range(MAX_FRAMES))
ALPHA_COLUMNS = tuple(f"alpha_{k}" for k in range(MAX_ALPHAS))
TRUST_COLUMNS = tuple(f"trust_{k}" for k in range(MAX_FRAMES))
PIXEL_COLUMNS = (
    "all_in_focus",
    *FRAME_COLUMNS,
    "depth",
    *ALPHA_COLUMNS,
    "sharpest_frame",
    "boundary",
    "trust",
    *TRUST_COLUMNS,
)


@dataclass(frozen=True, kw_only=True)
class SourceRecord:
    """A source photograph: path relative to the source folder, sha256 of the file, licence and attribution."""

    path: str
    sha256: str
    licence: str = "unknown"
    author: str = ""
    url: str = ""


@dataclass(frozen=True, kw_only=True)
class CameraRecord:
    """The camera as it was drawn; with a distance it gives every blur radius of the sample.

    `aperture`, `lens_options` and `sensor` hold plain scalars by field name. `lens_options` and `sensor` name only what
    departs from an ideal lens and a noiseless, correctly exposed sensor, so empty means ideal. `draws` holds further
    values of record (JSON scalars, lists, objects). The depth coding is filled in when the sample is stored.
    """

    focal_length_mm: float
    f_number: float
    sensor_width_mm: float
    image_width_px: int
    aperture: Mapping[str, float] = field(default_factory=dict)
    lens_options: Mapping[str, Any] = field(default_factory=dict)
    sensor: Mapping[str, Any] = field(default_factory=dict)
    draws: Mapping[str, Any] = field(default_factory=dict)
    depth_scale: float = 0.0
    depth_offset: float = 0.0

    @property
    def is_ideal(self) -> bool:
        """Whether frames hold nothing but defocus: no noise, exposure, breathing or aberration was drawn."""
        return not self.lens_options and not self.sensor


@dataclass(frozen=True, kw_only=True)
class LayerRecord:
    """A layer: what it is, the index of its source, its least and greatest distance, scores of its cut-out."""

    kind: str
    source: int
    near_m: float
    far_m: float
    scores: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerStore:
    """The stored layers of one sample: images by column, and what makes sense of them."""

    images: dict[str, Array]
    margin_px: int
    quality: str
    largest_radius_px: float
    distance_scale: tuple[float, ...]  # by layer, 0 where it stands at one distance
    distance_offset: tuple[float, ...]
    mean_light: float  # of the scene without blur, linear
    matte_share: float  # of the frame, in which some matte varies

    @property
    def record(self) -> dict[str, Any]:
        """The column `layer_store`."""
        return {
            "margin_px": self.margin_px,
            "quality": self.quality,
            "largest_radius_px": self.largest_radius_px,
            "mean_light": self.mean_light,
            "matte_share": self.matte_share,
            "distance_scale": list(self.distance_scale),
            "distance_offset": list(self.distance_offset),
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class SampleRecord:
    """Everything a row of a shard holds, checked for shape, type and count (ValueError says which)."""

    sample_id: str
    split: str
    sources: list[SourceRecord]
    licence: str
    camera: CameraRecord
    layers: list[LayerRecord]
    focus_plan: str
    focus_distance_m: list[float]
    all_in_focus: Array
    frames: list[Array]
    depth_m: Float32
    alphas: list[Codes16]
    sharpest_frame: Codes8
    boundary: Codes8
    trust: Codes8
    frame_trust: list[Codes8]
    recipe_hash: str
    plan_id: str
    toolkit_version: str
    format_version: int = FORMAT_VERSION
    layer_store: LayerStore | None = None  # the layers, where they are stored instead of target and frames

    def __post_init__(self) -> None:
        """Refuse a record that could not be read back as what it claims to be."""
        check_key(self.sample_id)
        check_split(self.split)
        n_frames, n_alphas = len(self.frames), len(self.alphas)
        _require(MIN_FRAMES <= n_frames <= MAX_FRAMES, f"frames: {n_frames}; allowed: {MIN_FRAMES} to {MAX_FRAMES}")
        _require(n_alphas <= MAX_ALPHAS, f"alphas: {n_alphas}; allowed: up to {MAX_ALPHAS}")
        _require(len(self.layers) == n_alphas + 1, f"layers: {len(self.layers)} for {n_alphas} mattes and a background")
        _require(len(self.focus_distance_m) == n_frames, "focus_distance_m: one a frame")
        _require(len(self.frame_trust) == n_frames, "frame_trust: one a frame")
        _require(min(self.focus_distance_m) > self.camera.focal_length_mm / 1000, "focus_distance_m: within f")
        for source in self.sources:
            _require(bool(_SHA256.fullmatch(source.sha256)), f"source {source.path!r}: sha256 is not 64 hex digits")
        for layer in self.layers:
            _require(0 <= layer.source < len(self.sources), f"layer {layer.kind!r}: source {layer.source}")
            _require(0 < layer.near_m <= layer.far_m, f"layer {layer.kind!r}: {layer.near_m} to {layer.far_m} m")
        _require(self.all_in_focus.ndim == 3, "all_in_focus: [H,W,3]")
        size = self.all_in_focus.shape[:2]
        _require(self.all_in_focus.dtype in (np.uint8, np.uint16), f"all_in_focus: {self.all_in_focus.dtype}")
        for name, array, dtype, channels in self._expected():
            wanted = (*size, 3) if channels == 3 else size
            _require(array.dtype == dtype and array.shape == wanted, f"{name}: {array.dtype} {list(array.shape)}")
        _require(bool((self.depth_m > 0).all()), "depth_m: not above 0 everywhere (NaN counts as not above)")

    def _expected(self) -> list[tuple[str, Array, Any, int]]:
        colour = self.all_in_focus.dtype
        return [
            ("all_in_focus", self.all_in_focus, colour, 3),
            *((f"frame_{k}", frame, colour, 3) for k, frame in enumerate(self.frames)),
            ("depth_m", self.depth_m, np.float32, 1),
            *((f"alpha_{k}", alpha, np.uint16, 1) for k, alpha in enumerate(self.alphas)),
            ("sharpest_frame", self.sharpest_frame, np.uint8, 1),
            ("boundary", self.boundary, np.uint8, 1),
            ("trust", self.trust, np.uint8, 1),
            *((f"trust_{k}", trust, np.uint8, 1) for k, trust in enumerate(self.frame_trust)),
        ]

    @property
    def bits(self) -> int:
        """Bits a channel of frames and target, 8 or 16."""
        return 8 * self.all_in_focus.dtype.itemsize


def check_key(sample_id: str) -> None:
    """Refuse (ValueError) an id that is not lower-case letters, digits, `-` and `_`: it becomes part of file names."""
    _require(bool(_KEY.fullmatch(sample_id)), f"sample_id: {sample_id!r}; allowed: 1 to 128 of 0-9 a-z _ -")


def check_split(split: str) -> None:
    """Refuse (ValueError) a split that is not a lower-case word: it becomes part of file names."""
    _require(bool(_SPLIT.fullmatch(split)), f"split: {split!r} is not a lower-case word")


def pixel_sha256(array: Array) -> str:
    """sha256 over type, shape and pixels: of `uint8 480x640x3`, a line feed, then C-order little-endian bytes.

    The text holds the type's name and the sizes joined by `x`; so it does not depend on codec, machine or strides.
    """
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    digest = hashlib.sha256(f"{array.dtype.name} {'x'.join(map(str, array.shape))}\n".encode())
    digest.update(little.data)
    return digest.hexdigest()


def encode_depth(depth_m: Float32) -> tuple[Codes16, float, float]:
    """uint16 codes `[H,W]`, scale and offset (1 / m) of a map of distances above 0, infinity allowed."""
    inverse = 1.0 / depth_m.astype(np.float64)
    offset = float(inverse.min())
    span = float(inverse.max()) - offset
    scale = span / 65535 if span > 0 else 1.0
    return np.rint((inverse - offset) / scale).astype(np.uint16), scale, offset


def decode_depth(codes: Codes16, scale: float, offset: float) -> Float32:
    """Distances in metres, float32 `[H,W]`; infinity where the inverse distance is 0."""
    inverse = codes * np.float64(scale) + offset
    with np.errstate(divide="ignore"):
        return np.asarray(1.0 / inverse, np.float32)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)
