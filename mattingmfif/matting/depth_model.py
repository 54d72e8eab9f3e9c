"""Depth as a network on disk sees it: an ONNX file of the Depth Anything family, through onnxruntime on one thread.

Nothing is ever downloaded. What the numbers of a file mean cannot be told from the file: Depth Anything V2 gives
disparity, V3 and the metric models give distance. So the user says it, and nothing here guesses.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mattingmfif.errors import Refused, UserError
from mattingmfif.matting.models import file_digest, is_installed
from mattingmfif.pixels.colour import Float32

#: what these networks were trained on: the short side in px, the side of their patches, mean and deviation of colours
SHORT_SIDE_PX, PATCH_PX = 518, 14
_MEAN, _DEVIATION = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)
_NAMES = ("predicted_depth", "depth", "disparity", "inverse_depth", "metric_depth")


def check_depth_model(path: Path) -> str:
    """The SHA-256 of a file that really gives depth: it is tried on a small picture. UserError, one line, if not."""
    if not is_installed("onnxruntime"):
        raise UserError("depth.model: onnxruntime is not installed; pip install 'mattingmfif[depth]'")
    if not path.is_file():
        raise UserError(f"depth.model: no file {path}")
    numbers_of_depth(np.full((56, 56, 3), 0.5, np.float32), path)
    _session.cache_clear()  # whoever plans does not keep the weights; workers load them
    return file_digest(path)


def predicted_depth(photo_srgb: Float32, path: Path, sha256: str) -> Float32:
    """The network's numbers `[h,w]` (at its own size, covering all of the photo) for a photo `[H,W,3]`, sRGB 0..1.

    Raises UserError where the file is not the one with that SHA-256, `Refused` where the numbers are no depth.
    """
    if not path.is_file():
        raise UserError(f"depth.model: no file {path}; say where it lies with --depth-model")
    if file_digest(path) != sha256:
        raise UserError(f"depth.model: {path} is not the file that was planned (sha256 {sha256[:16]}…)")
    return numbers_of_depth(photo_srgb, path)


def numbers_of_depth(photo_srgb: Float32, path: Path) -> Float32:
    """What the network at `path` gives for a photo, as it is."""
    session = _session(str(path), path.stat().st_mtime_ns)
    wanted = session.get_inputs()[0]
    shape = [size if isinstance(size, int) else None for size in wanted.shape]
    planes_first = len(shape) != 4 or shape[3] != 3
    if len(shape) not in (4, 5) or wanted.type not in ("tensor(float)", "tensor(float16)"):
        raise UserError(f"depth.model: {path.name} takes {wanted.type} {wanted.shape}, not a picture of 3 channels")
    fixed = shape[-2:] if planes_first else shape[1:3]
    height, width = network_size(photo_srgb.shape[0], photo_srgb.shape[1], *fixed)
    smaller = height * width < photo_srgb.shape[0] * photo_srgb.shape[1]
    interpolation = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    picture = cv2.resize(np.clip(photo_srgb, 0, 1), (width, height), interpolation=interpolation)
    picture = (picture - _MEAN) / _DEVIATION
    batch = picture.transpose(2, 0, 1)[(None,) * (len(shape) - 3)] if planes_first else picture[None]
    batch = np.ascontiguousarray(batch, np.float16 if wanted.type == "tensor(float16)" else np.float32)
    names = [output.name for output in session.get_outputs()]
    chosen = [name for name in _NAMES if name in names] or names
    if len(chosen) != 1 and chosen == names:
        raise UserError(f"depth.model: {path.name} gives {', '.join(names)}; none of them is called depth")
    try:
        found = np.squeeze(np.asarray(session.run(chosen[:1], {wanted.name: batch})[0]))
    except Exception as error:  # onnxruntime raises types of its own
        raise UserError(f"depth.model: {path.name} fails on a picture of {width}x{height}: {_line(error)}") from error
    if found.ndim != 2 or found.dtype.kind != "f":
        raise UserError(f"depth.model: {path.name} gives {found.dtype} {found.shape}, not one number for each pixel")
    if not np.isfinite(found).any():
        raise Refused("depth-unknown", f"{path.name} gives no finite number for this photo", stage="depth")
    return np.asarray(found, np.float32)


def network_size(height: int, width: int, fixed_height: int | None, fixed_width: int | None) -> tuple[int, int]:
    """(height, width) at which a network sees a photo: its own where it is fixed, else whole patches by the short side.

    The long side is at most four times the short one: memory grows with its square.
    """
    scale = SHORT_SIDE_PX / min(height, width)
    free = [PATCH_PX * max(1, round(min(side * scale, 4 * SHORT_SIDE_PX) / PATCH_PX)) for side in (height, width)]
    return fixed_height or free[0], fixed_width or free[1]


@lru_cache(maxsize=2)
def _session(path: str, changed_ns: int) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(f"depth.model: onnxruntime cannot be imported ({_line(error)}); install it again") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises types of its own for every kind of broken file
        raise UserError(f"depth.model: {path} is not a model that onnxruntime can load: {_line(error)}") from error


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:160]
