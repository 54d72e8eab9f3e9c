"""The columns of a shard, the same in every shard, and what Hugging Face `datasets` is told about them.

Image cells are structs `{bytes, path}`. They are declared as images, except 16-bit colour: Pillow would silently give
8 bits, so those cells stay bytes for whoever does not read them with this package. Mappings of free form (options of
the lens, sensor, further draws, scores) are JSON strings with sorted keys, so that the schema never changes with them.

Shards of `--store layers` have the columns of `layer_store.py` behind the others, and `pixel_sha256` has their fields;
their target and frames are null.
"""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from mattingmfif.dataset.layer_store import COLOUR_COLUMNS as LAYER_COLOUR_COLUMNS
from mattingmfif.dataset.layer_store import LAYER_COLUMNS
from mattingmfif.dataset.sample import FORMAT_VERSION, PIXEL_COLUMNS

#: `preview` is a small JPEG of target and frames; it is an image but no measured data
IMAGE_COLUMNS = (*PIXEL_COLUMNS, "preview")
_ALL_IMAGES = frozenset((*IMAGE_COLUMNS, *LAYER_COLUMNS))

#: columns that hold `bits`-per-channel colour; every other image has one fixed type
COLOUR_COLUMNS = (
    *(name for name in PIXEL_COLUMNS if name == "all_in_focus" or name.startswith("frame_")),
    *LAYER_COLOUR_COLUMNS,
)

_CELL = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_SOURCE = pa.struct([(name, pa.string()) for name in ("path", "sha256", "licence", "author", "url")])
_APERTURE = pa.struct(
    [("blades", pa.int32())] + [(name, pa.float64()) for name in ("roundness", "rotation_deg", "cats_eye", "spherical")]
)
_CAMERA = pa.struct(
    [
        ("focal_length_mm", pa.float64()),
        ("f_number", pa.float64()),
        ("sensor_width_mm", pa.float64()),
        ("image_width_px", pa.int32()),
        ("aperture", _APERTURE),
        ("lens_options", pa.string()),
        ("sensor", pa.string()),
        ("depth_scale", pa.float64()),
        ("depth_offset", pa.float64()),
        ("draws", pa.string()),
    ]
)
_LAYER = pa.struct(
    [
        ("kind", pa.string()),
        ("source", pa.int32()),
        ("near_m", pa.float64()),
        ("far_m", pa.float64()),
        ("scores", pa.string()),
    ]
)

COLUMNS: tuple[tuple[str, pa.DataType], ...] = (
    ("sample_id", pa.string()),
    ("split", pa.string()),
    ("sources", pa.list_(_SOURCE)),
    ("licence", pa.string()),
    ("camera", _CAMERA),
    ("layers", pa.list_(_LAYER)),
    ("focus_plan", pa.string()),
    ("focus_distance_m", pa.list_(pa.float64())),
    *((name, _CELL) for name in IMAGE_COLUMNS),
    ("pixel_sha256", pa.struct([(name, pa.string()) for name in PIXEL_COLUMNS])),
    ("codec", pa.string()),
    ("recipe_hash", pa.string()),
    ("plan_id", pa.string()),
    ("format_version", pa.int32()),
    ("toolkit_version", pa.string()),
)

_LAYER_STORE = pa.struct(
    [
        ("margin_px", pa.int32()),
        ("quality", pa.string()),
        ("largest_radius_px", pa.float64()),
        ("mean_light", pa.float64()),
        ("matte_share", pa.float64()),
        ("distance_scale", pa.list_(pa.float64())),
        ("distance_offset", pa.list_(pa.float64())),
    ]
)

COLUMN_NAMES = tuple(name for name, _ in COLUMNS)
RECORD_COLUMNS = tuple(name for name in COLUMN_NAMES if name not in IMAGE_COLUMNS)
APERTURE_FIELDS = tuple(field.name for field in _APERTURE)


def columns_of(store: str) -> tuple[tuple[str, pa.DataType], ...]:
    """Names and types of the columns of a store, "frames" or "layers"."""
    if store == "frames":
        return COLUMNS
    hashes = pa.struct([(name, pa.string()) for name in (*PIXEL_COLUMNS, *LAYER_COLUMNS)])
    shared = [(name, hashes if name == "pixel_sha256" else kind) for name, kind in COLUMNS]
    return (*shared, *((name, _CELL) for name in LAYER_COLUMNS), ("layer_store", _LAYER_STORE))


def pixel_columns(store: str) -> tuple[str, ...]:
    """Columns of measured images of a store."""
    return PIXEL_COLUMNS if store == "frames" else (*PIXEL_COLUMNS, *LAYER_COLUMNS)


def shard_schema(bits: int, metadata: dict[str, str], store: str = "frames") -> pa.Schema:
    """The schema of a shard with `bits` (8 or 16) a colour channel, carrying `metadata` and the Hub's features."""
    info = {"info": {"features": hub_features(bits, store)}}
    everything = {**metadata, "bits": str(bits), "format_version": str(FORMAT_VERSION), "huggingface": _json(info)}
    if store != "frames":
        everything["store"] = store
    return pa.schema(list(columns_of(store)), metadata=everything)


def hub_features(bits: int, store: str = "frames") -> dict[str, Any]:
    """Hugging Face feature declarations by column name; colour of 16 bits is not declared as an image."""
    plain = bits == 16
    return {
        name: _feature(kind) if name not in _ALL_IMAGES or (plain and name in COLOUR_COLUMNS) else {"_type": "Image"}
        for name, kind in columns_of(store)
    }


def is_blob(leaf_path: str) -> bool:
    """Whether a Parquet leaf column holds image bytes, which are stored as they are."""
    column, _, leaf = leaf_path.partition(".")
    return column in _ALL_IMAGES and leaf == "bytes"


def leaf_paths(store: str = "frames") -> list[str]:
    """Every leaf column as Parquet names it."""
    return [path for name, kind in columns_of(store) for path in _leaves(name, kind)]


def _leaves(path: str, kind: pa.DataType) -> list[str]:
    if pa.types.is_struct(kind):
        return [leaf for field in kind for leaf in _leaves(f"{path}.{field.name}", field.type)]
    if pa.types.is_list(kind):
        return _leaves(f"{path}.list.element", kind.value_type)
    return [path]


def _feature(kind: pa.DataType) -> Any:
    if pa.types.is_struct(kind):
        return {field.name: _feature(field.type) for field in kind}
    if pa.types.is_list(kind):
        return [_feature(kind.value_type)]
    return {"dtype": {"double": "float64"}.get(str(kind), str(kind)), "_type": "Value"}


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
