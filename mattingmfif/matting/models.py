"""rembg's segmentation models, from weights that lie on disk. Nothing is downloaded unless that is asked for by name.

A recipe names a model (`rembg_model = "u2net"`) or a model and its file (`"u2net=weights/u2net.onnx"`). Weights are
looked for where rembg keeps them: U2NET_HOME, REMBG_HOME, ~/.u2net, ~/.rembg/models. Only local models under a free
licence are allowed: rembg's default is not, and some of its sessions send the photo to a server.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mattingmfif.errors import Refused, UserError
from mattingmfif.matting.contours import contour_score, lab_of, pair_contrast
from mattingmfif.matting.settings import MattingSettings
from mattingmfif.matting.subjects import Subjects, enlarged_mask, reduced_photo
from mattingmfif.pixels.colour import Float32

#: model -> licence of its weights, as their authors state it
ALLOWED_MODELS: dict[str, str] = {
    "birefnet-general": "MIT",
    "birefnet-general-lite": "MIT",
    "isnet-general-use": "Apache-2.0",
    "u2net": "Apache-2.0",
    "u2netp": "Apache-2.0",
    "silueta": "Apache-2.0",
}
_LONG_SIDE_PX = 1024


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model whose weights are on disk: `sha256` of the file and its licence go into the record."""

    name: str
    path: Path
    licence: str

    @property
    def sha256(self) -> str:
        """The SHA-256 of the weights, hexadecimal."""
        return file_digest(self.path)

    def record(self) -> dict[str, str]:
        """What a sample says about the model that cut it out."""
        return {"model": self.name, "model_sha256": self.sha256, "model_licence": self.licence}


def available_model(name: str = "", *, allow_download: bool = False) -> Model | None:
    """The named model (or `name=path`), or the first allowed one, whose weights are on disk; None without rembg.

    Raises UserError for a model that is not allowed, or a path that is not there. With `allow_download` rembg fetches
    the weights of the named model when they are missing.
    """
    kind, _, path = name.partition("=")
    if kind and kind not in ALLOWED_MODELS:
        allowed = ", ".join(ALLOWED_MODELS)
        raise UserError(f"rembg_model: {kind!r} is not among the allowed local models: {allowed}")
    if path:
        file = Path(path).expanduser()
        if not file.is_file():
            raise UserError(f"rembg_model: no file of weights at {path}")
        return Model(name=kind, path=file, licence=ALLOWED_MODELS[kind]) if rembg_is_installed() else None
    if not rembg_is_installed():
        return None
    for candidate in [kind] if kind else ALLOWED_MODELS:
        for file in _places(candidate):
            if file.is_file():
                return Model(name=candidate, path=file, licence=ALLOWED_MODELS[candidate])
    if kind and allow_download:
        return Model(name=kind, path=Path(_session_class(kind).download_models()), licence=ALLOWED_MODELS[kind])
    return None


def file_digest(path: Path) -> str:
    """The SHA-256 of a file of weights, hexadecimal; read once while it does not change."""
    return _sha256(path, path.stat().st_mtime_ns)


def needed_model(name: str) -> Model:
    """The model that `available_model` finds; UserError, one line, where there is none."""
    model = available_model(name)
    if model is None:
        wanted = name or "any of " + ", ".join(ALLOWED_MODELS)
        raise UserError(
            f"segmenter rembg: no weights of {wanted} on disk (or rembg is not installed); "
            "put the .onnx file into U2NET_HOME, or use --segmenter classical"
        )
    return model


def fetch_weights(settings: MattingSettings) -> Model:
    """The model that the settings name, downloaded into rembg's folder if it is not on disk: a person asked for that.

    Raises UserError where none is named or allowed, rembg is missing, or the download fails.
    """
    name = settings.rembg_model.partition("=")[0]
    if settings.segmenter not in ("auto", "rembg"):
        raise UserError(f"--allow-download: segmenter {settings.segmenter} uses no model; allowed: auto, rembg")
    if not name:
        raise UserError(f"--allow-download: say which with --rembg-model; allowed: {', '.join(ALLOWED_MODELS)}")
    if not rembg_is_installed():
        raise UserError("--allow-download: rembg is not installed; pip install 'mattingmfif[rembg]'")
    try:
        fetched = available_model(settings.rembg_model, allow_download=True)
    except (OSError, ValueError) as error:  # no network, a full disk; a file with another checksum
        detail = " ".join(str(error).split())[:160]
        raise UserError(f"--allow-download: {name} could not be fetched: {detail}") from error
    found = available_model(settings.rembg_model)
    if found is None:
        where = fetched.path if fetched is not None else "nowhere"
        raise UserError(f"--allow-download: {name} lies at {where}; set U2NET_HOME to the folder it lies in")
    return found


def rembg_is_installed() -> bool:
    """True where rembg and onnxruntime can be imported (without the latter rembg's import ends the process)."""
    return is_installed("rembg") and is_installed("onnxruntime")


def is_installed(library: str) -> bool:
    """Whether a library can be found; what stands in its way counts as its absence."""
    try:
        return find_spec(library) is not None
    except (ImportError, ValueError):
        return False


def subjects_from_model(photo_srgb: Float32, settings: MattingSettings) -> Subjects:
    """Subjects as a rembg model sees them, one for each connected part of its mask, largest first.

    Raises UserError where no weights are on disk, `Refused("no-subject")` where the model finds nothing usable.
    """
    model = needed_model(settings.rembg_model)
    if settings.rembg_sha256 and model.sha256 != settings.rembg_sha256:
        raise UserError(f"rembg_model: {model.path} is not the file that was planned ({settings.rembg_sha256[:16]}…)")
    small = reduced_photo(photo_srgb, _LONG_SIDE_PX)
    probability = predict(model, small)
    contrast = pair_contrast(lab_of(small))
    found = []
    count, parts, stats, _ = cv2.connectedComponentsWithStats((probability > 0.5).astype(np.uint8), connectivity=8)
    for part in sorted(range(1, count), key=lambda p: -stats[p, cv2.CC_STAT_AREA])[: settings.max_subjects]:
        mask = parts == part
        area = float(mask.mean())
        if settings.min_area_share <= area <= settings.max_area_share:
            certain = float(np.abs(2 * probability[mask] - 1).mean())
            scores = {"contour": contour_score(mask, contrast), "area": area, "confidence": certain}
            found.append((mask, scores))
    if not found:
        raise Refused("no-subject", f"{model.name} finds no subject of the allowed size", stage="segment")
    shape = (photo_srgb.shape[0], photo_srgb.shape[1])
    return Subjects(
        masks=[enlarged_mask(mask, shape) for mask, _ in found],
        segmenter="rembg",
        why=f"{len(found)} parts of the mask of {model.name}",
        scores=[scores for _, scores in found],
        model=model.record(),
    )


def predict(model: Model, photo_srgb: Float32) -> Float32:
    """The model's subject probability `[H,W]`, 0..1, of a photo `[H,W,3]` (sRGB)."""
    from PIL import Image

    codes = np.round(np.clip(photo_srgb, 0, 1) * 255).astype(np.uint8)
    with np.errstate(invalid="ignore"):  # rembg stretches the answer to 0..1, also a constant one
        planes = _session(model.name, str(model.path)).predict(Image.fromarray(codes))
    return np.asarray(planes[0].convert("L"), np.float32) / np.float32(255)


@lru_cache(maxsize=2)
def _session(name: str, path: str) -> Any:
    """A session on one thread that takes its weights from `path`, wherever that is, and never from the network."""
    base = _session_class(name)
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(_broken("onnxruntime", error)) from error
    local = type("LocalSession", (base,), {"download_models": classmethod(lambda cls, *args, **kwargs: path)})
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        return local(name, options, providers=["CPUExecutionProvider"], model_path=path)
    except Exception as error:  # onnxruntime raises types of its own for every kind of broken file
        detail = " ".join(str(error).split())[:160]
        raise UserError(f"rembg_model: {path} is not a model that onnxruntime can load: {detail}") from error


def _session_class(name: str) -> Any:
    try:
        from rembg.sessions import sessions_class
    except (ImportError, SystemExit) as error:  # it ends the process where it lacks something
        raise UserError(_broken("rembg", error)) from error
    return next(kind for kind in sessions_class if kind.name() == name)


def _broken(library: str, error: BaseException) -> str:
    said = " ".join(str(error).split())[:160]
    return f"{library} is installed and cannot be imported ({said}); install it again, or use --segmenter classical"


def _places(name: str) -> Iterator[Path]:
    homes = [os.environ.get("U2NET_HOME"), os.environ.get("REMBG_HOME")]
    for home in [Path(h).expanduser() for h in homes if h] or [Path.home() / ".u2net", Path.home() / ".rembg"]:
        for folder in (home, home / name, home / "models" / name, home / "models"):
            yield folder / f"{name}.onnx"


@lru_cache(maxsize=8)
def _sha256(path: Path, changed_ns: int) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
