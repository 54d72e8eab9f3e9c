"""A file becomes a photograph in linear light with sRGB primaries, and an edited picture becomes a file again.

Working space: linear light, sRGB primaries, 0..1 float32. Wider gamuts are clipped to it when a photograph is
opened for the dataset; `read_image` / `write_image` (the editing commands) stay in the file's own primaries instead.
"""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from mattingmfif.errors import EXIT_IO, Refused, UserError
from mattingmfif.photo.decode import Decoded, decode
from mattingmfif.photo.icc import MatrixProfile
from mattingmfif.photo.png_chunks import with_metadata
from mattingmfif.photo.tiff_file import LAYOUT_TAGS, tiff_bytes
from mattingmfif.pixels.colour import Float32, decode_srgb, encode_srgb
from mattingmfif.pixels.deblock import without_grid
from mattingmfif.pixels.resample import fit_long_side, reduce_to

DEFAULT_MAX_PIXELS = 120_000_000
#: reduced by this factor or more, blocks of 8 px are smaller than 3 and leave no trace
GRID_SURVIVES_REDUCTION = 3.0
_EXIF_IFD, _ORIENTATION = 0x8769, 0x0112
#: the only EXIF values that may travel on: none of them names a person, a place, a time or one camera
_SAFE_TAGS = {"make": 0x010F, "model": 0x0110}
_SAFE_EXIF_TAGS = {
    "exposure_time_s": 0x829A,
    "f_number": 0x829D,
    "iso": 0x8827,
    "focal_length_mm": 0x920A,
    "focal_length_35mm_mm": 0xA405,
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Photo:
    """A photograph: `linear` float32 `[H,W,3]`, 0..1, sRGB primaries, upright; `sha256` of the file's bytes."""

    path: str
    sha256: str
    linear: Float32
    bits: int
    icc_name: str
    jpeg: bool
    metadata: dict[str, str | float] = field(default_factory=dict)

    def reduced(self, long_side_px: int) -> Float32:
        """`linear`, reduced in linear light so that the long side is at most `long_side_px`; never enlarged."""
        height, width = fit_long_side(self.linear.shape[0], self.linear.shape[1], long_side_px)
        return reduce_to(self.linear, height, width)


@dataclass(frozen=True, kw_only=True, eq=False)
class EditablePhoto:
    """A picture to edit and write back: `linear` `[H,W,3]` in the file's own primaries, with all its metadata."""

    linear: Float32
    bits: int
    grey: bool
    profile: MatrixProfile | None
    icc_profile: bytes
    exif: bytes


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def open_photo(
    root: Path | str, rel_path: str, *, max_pixels: int = DEFAULT_MAX_PIXELS, used_long_side_px: int | None = None
) -> Photo:
    """The photograph at `root/rel_path`; raises `Refused` with a documented reason where it is not usable.

    With `used_long_side_px`, the size to which it will be reduced, a JPEG grid that would survive that is taken out.
    """
    try:
        rel_path.encode("utf-8")
    except UnicodeEncodeError as error:
        raise Refused("bad-name", "the file's name is not valid UTF-8") from error
    try:
        content = (Path(root) / rel_path).read_bytes()
    except FileNotFoundError as error:
        raise Refused("source-missing", "the file is not there (any more)") from error
    except OSError as error:
        raise Refused("unreadable", f"the file cannot be read: {error.strerror}") from error
    decoded = decode(content, rel_path, max_pixels=max_pixels)
    bits = decoded.bits
    if used_long_side_px and max(decoded.codes.shape[:2]) < GRID_SURVIVES_REDUCTION * used_long_side_px:
        decoded = replace(decoded, codes=without_grid(decoded.codes))
    return Photo(
        path=rel_path,
        sha256=hashlib.sha256(content).hexdigest(),
        linear=_as_rgb(_to_working_space(decoded)),
        bits=bits,
        icc_name=decoded.icc_name,
        jpeg=decoded.format in ("JPEG", "MPO"),
        metadata=_safe_metadata(decoded.exif),
    )


def read_image(path: Path | str, *, max_pixels: int = 400_000_000) -> EditablePhoto:
    """The picture at `path` for editing; raises UserError (one line) where it cannot be read."""
    file = Path(path)
    try:
        decoded = decode(file.read_bytes(), file.name, max_pixels=max_pixels)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from error
    except Refused as refusal:
        raise UserError(f"{path}: {refusal}") from refusal
    profile = decoded.profile
    codes = decoded.codes
    return EditablePhoto(
        linear=_as_rgb(profile.decode(codes) if profile else decode_srgb(codes)),
        bits=decoded.bits,
        grey=codes.ndim == 2,
        profile=profile,
        icc_profile=b"" if decoded.converted_to_srgb else decoded.icc_bytes,
        exif=_exif_bytes(decoded.exif),
    )


def _exif_bytes(exif: Image.Exif) -> bytes:
    """The EXIF block of a picture that is upright now; empty where there is none, or none that can be read whole."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of each broken tag and leaves it out
        try:
            for tag in LAYOUT_TAGS & set(exif):  # a TIFF file's
                del exif[tag]
            if _ORIENTATION in exif:
                exif[_ORIENTATION] = 1
            exif.bigtiff = False  # of a BigTIFF file's EXIF only BigTIFF files could be made
            return exif.tobytes() if len(exif) else b""
        except Exception:  # broken tags meet Pillow with exceptions of every type; the pixels are sound
            return b""


def same_colours(a: EditablePhoto, b: EditablePhoto) -> bool:
    """Whether equal codes of both mean equal colours: one profile, also under two names, or sRGB with and without."""
    if a.profile is None or b.profile is None:
        return a.profile is b.profile
    return a.icc_profile == b.icc_profile or a.profile.means_the_same_as(b.profile)


def written_suffix(path: Path | str) -> str:
    """The suffix of a file that `write_image` can write, in small letters; UserError for any other."""
    suffix = Path(path).suffix.lower()
    if suffix not in (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".webp"):
        raise UserError(f"{path}: cannot write this kind of file; use .png, .tif, .jpg or .webp")
    return suffix


def write_image(
    path: Path | str,
    image_linear: Float32,
    like: EditablePhoto | None = None,
    *,
    bits: int | None = None,
    strip_metadata: bool = False,
) -> None:
    """Write linear `[H,W,3]` as PNG, TIFF, JPEG or WebP by the suffix; primaries, ICC and EXIF are those of `like`.

    `bits` defaults to those of `like` where the format can hold them (JPEG and WebP hold 8). Raises UserError for an
    unknown suffix and where the file cannot be written.
    """
    suffix = written_suffix(path)
    wanted = bits or (like.bits if like else 8)
    if suffix in (".jpg", ".jpeg", ".webp"):
        wanted = 8
    profile = like.profile if like else None
    codes = profile.encode(image_linear, wanted) if profile else encode_srgb(image_linear, wanted)
    if like is not None and like.grey and codes.ndim == 3:
        codes = codes[..., 1]
    icc_profile, exif = (like.icc_profile, like.exif) if like is not None else (b"", b"")
    if strip_metadata:  # without its profile the codes would change their meaning
        icc_profile, exif = icc_profile if profile else b"", b""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of broken tags
            content = _encoded(codes, suffix, icc_profile, exif)
        _write_aside(Path(path), content)
    except (OSError, ValueError) as error:  # a format has limits: WebP of size, JPEG of size and EXIF
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise UserError(f"{path}: cannot be written: {reason}", EXIT_IO) from error


def _encoded(codes: Any, suffix: str, icc_profile: bytes, exif: bytes) -> bytes:
    if suffix in (".tif", ".tiff"):
        return tiff_bytes(codes, icc_profile, exif)
    if codes.dtype == np.uint8:
        kind = {".png": "PNG", ".webp": "WEBP"}.get(suffix, "JPEG")
        options: dict[str, Any] = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
        if kind == "WEBP":
            options = {"lossless": True}
        stream = io.BytesIO()
        found = {name: value for name, value in (("icc_profile", icc_profile), ("exif", exif)) if value}
        Image.fromarray(codes).save(stream, kind, **options, **found)
        return stream.getvalue()
    planes = codes if codes.ndim == 2 else cv2.cvtColor(codes, cv2.COLOR_RGB2BGR)
    done, buffer = cv2.imencode(".png", planes)
    if not done:
        raise OSError("the encoder failed")
    return with_metadata(buffer.tobytes(), icc_profile, exif)


def _write_aside(file: Path, content: bytes) -> None:
    """`content` at `file`, whole or not at all: what was there stays until the last byte is written."""
    target = file.resolve()  # a link stays one
    short = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]  # a name may be as long as a name can be
    aside = target.with_name(f".{short}.{os.getpid()}.tmp")
    try:
        aside.write_bytes(content)
        aside.replace(target)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def _to_working_space(decoded: Decoded) -> Float32:
    if decoded.profile is None:
        return decode_srgb(decoded.codes)
    return decoded.profile.to_srgb_primaries(decoded.profile.decode(decoded.codes))


def _as_rgb(linear: Float32) -> Float32:
    return np.repeat(linear[..., None], 3, axis=2) if linear.ndim == 2 else linear


def _safe_metadata(exif: Image.Exif) -> dict[str, str | float]:
    safe: dict[str, str | float] = {}
    details = exif.get_ifd(_EXIF_IFD)
    for name, tag in _SAFE_TAGS.items():
        text = "".join(ch for ch in str(exif.get(tag, "")) if ch.isprintable()).strip()
        if text:
            safe[name] = text[:60]
    for name, tag in _SAFE_EXIF_TAGS.items():
        value = details.get(tag)
        try:
            number = float(value[0] if isinstance(value, tuple) else value)  # type: ignore[arg-type]
        except (TypeError, ValueError, ZeroDivisionError, IndexError):
            continue
        if np.isfinite(number):
            safe[name] = number
    return safe
