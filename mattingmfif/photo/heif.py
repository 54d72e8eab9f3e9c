"""HEIC pictures, as phones take them, and the depth that may lie in them; through pillow-heif (the extra `heic`).

The picture comes upright, 8 bit, with its profile. Depth is a plane of codes; how they are meant to be read stands in
the file (H.265, depth representation information), so nobody has to say it:

    uniform inverse Z    inverse distance, evenly from 1 / z_far at code 0 to 1 / z_near at the largest: metres
    uniform disparity    evenly from d_min to d_max, larger is nearer (what iPhones write)
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np
from PIL import Image

from mattingmfif.errors import Refused
from mattingmfif.pixels.colour import Float32

SUFFIXES = (".heic", ".heif")
_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")
_UNIFORM_INVERSE_Z, _UNIFORM_DISPARITY = 0, 1


def holds_heif(content: bytes) -> bool:
    """Whether the bytes begin as a HEIF file does, whatever the file is called."""
    return content[4:8] == b"ftyp" and content[8:12] in _BRANDS


def open_heif(content: bytes) -> Any:
    """pillow-heif's file: its size and what is in it are known, nothing is decoded yet. `Refused` without the extra."""
    if find_spec("pillow_heif") is None:
        raise Refused("unsupported-format", "HEIC needs the extra heic: pip install 'mattingmfif[heic]'")
    import pillow_heif

    pillow_heif.options.DECODE_THREADS = 1
    return pillow_heif.open_heif(content)


def heif_picture(content: bytes, max_pixels: int) -> Image.Image:
    """The main picture of a HEIF file; `Refused` where it has more than `max_pixels`."""
    file = open_heif(content)
    width, height = file.size
    if width * height > max_pixels:
        raise Refused("too-many-pixels", f"{width}x{height} has more than {max_pixels} pixels")
    picture = file.to_pillow()
    picture.format = "HEIF"
    return picture


def heif_depth(content: bytes) -> tuple[Float32, str] | None:
    """The depth in a HEIF file as (numbers `[h,w]`, kind), None where there is none.

    The kind is "metres" or "disparity". Raises `Refused` where the file does not say how its codes are to be read, or
    is damaged.
    """
    try:
        images = open_heif(content).info.get("depth_images") or []
        if not images:
            return None
        stated = images[0].info.get("metadata") or {}
        codes = np.array(images[0])
    except (Refused, MemoryError):
        raise
    except Exception as error:  # the library meets a damaged file with exceptions of every type
        detail = f"the depth in the HEIC file is damaged: {' '.join(str(error).split())[:120]}"
        raise Refused("depth-unreadable", detail, stage="depth") from error
    if codes.ndim == 3:
        codes = codes[..., 0]
    share = codes.astype(np.float32) / np.float32(np.iinfo(codes.dtype).max)
    kind = stated.get("representation_type")
    if kind == _UNIFORM_INVERSE_Z and stated.get("z_near", 0) > 0 and stated.get("z_far", 0) > stated["z_near"]:
        near, far = 1.0 / stated["z_near"], 1.0 / stated["z_far"]
        return np.asarray(1.0 / (far + share * (near - far)), np.float32), "metres"
    if kind == _UNIFORM_DISPARITY and stated.get("d_max", 0) > stated.get("d_min", 0):
        low, high = stated.get("d_min", 0.0), stated["d_max"]
        return np.asarray(low + share * (high - low), np.float32), "disparity"
    said = f"representation {kind}" if kind is not None else "nothing"
    detail = f"the HEIC file says {said} about its depth; inverse Z and disparity with their ends are read"
    raise Refused("depth-unreadable", detail, stage="depth")
