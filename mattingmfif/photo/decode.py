"""The bytes of an image file become integer codes, upright, at the file's own depth; whatever cannot be is refused.

Pillow reads headers and all 8-bit pixels; OpenCV reads the pixels of 16-bit files, which Pillow would cut to 8.
"""

from __future__ import annotations

import io
import struct
import warnings
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from mattingmfif.errors import Refused
from mattingmfif.photo import icc
from mattingmfif.photo.heif import heif_picture, holds_heif
from mattingmfif.photo.png_chunks import without_metadata
from mattingmfif.photo.sources import FORMATS_OF_SUFFIX

Codes = npt.NDArray[np.uint8 | np.uint16]

_ORIENTATION = 0x0112
_MEANING, _SAMPLES, _PLANES = 262, 277, 284  # of a TIFF file
_PLAIN_MODES = frozenset({"RGB", "RGBA", "RGBX", "L", "LA", "P", "PA", "1", "I;16", "I;16B", "I;16L", "CMYK", "YCbCr"})


@dataclass(frozen=True, kw_only=True, eq=False)
class Decoded:
    """`codes` `[H,W]` or `[H,W,3]`, uint8 or uint16, upright; `profile` says what they mean (None: sRGB)."""

    codes: Codes
    profile: icc.MatrixProfile | None
    icc_name: str
    icc_bytes: bytes
    exif: Image.Exif
    format: str
    converted_to_srgb: bool = False  # by LittleCMS: the file's own profile no longer describes these codes

    @property
    def bits(self) -> int:
        """8 or 16."""
        return 8 if self.codes.dtype == np.uint8 else 16


def decode(content: bytes, path: str, *, max_pixels: int) -> Decoded:
    """The image in `content`, checked against the suffix of `path`; raises `Refused` with a documented reason."""
    if not content:
        raise Refused("empty-file", "the file has no bytes")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of large pictures and broken tags; both are judged here
        try:
            image = _open(content, path, max_pixels)
            return _decode(image, content)
        except (Refused, MemoryError):
            raise
        except Exception as error:  # decoders meet a damaged file with exceptions of every type
            raise Refused("damaged", f"the file cannot be decoded to its end: {_one_line(error)}") from error


def _open(content: bytes, path: str, max_pixels: int) -> Image.Image:
    suffix = PurePosixPath(path).suffix.lower()
    if holds_heif(content):
        if "HEIF" not in FORMATS_OF_SUFFIX.get(suffix, frozenset()):
            raise Refused("wrong-suffix", f"the file is named {suffix or 'without suffix'} but holds HEIF")
        return heif_picture(content, max_pixels)
    try:
        image = Image.open(io.BytesIO(content))
    except Image.DecompressionBombError as error:
        raise Refused("too-many-pixels", f"{_one_line(error)}; the limit is {max_pixels}") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        # Pillow's own words name an object in memory, which differs from run to run
        detail = "" if isinstance(error, UnidentifiedImageError) else f": {_one_line(error)}"
        raise Refused("not-an-image", f"no image format is recognised in the file{detail}") from error
    if image.format not in FORMATS_OF_SUFFIX.get(suffix, frozenset()):
        raise Refused("wrong-suffix", f"the file is named {suffix or 'without suffix'} but holds {image.format}")
    width, height = image.size
    if width * height > max_pixels:
        raise Refused("too-many-pixels", f"{width}x{height} has more than {max_pixels} pixels")
    if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
        raise Refused("several-frames", f"an animation or a file of {getattr(image, 'n_frames', 0)} pages")
    return image


def _decode(image: Image.Image, content: bytes) -> Decoded:
    icc_bytes = image.info.get("icc_profile") or b""
    exif = image.getexif()
    orientation = exif.get(_ORIENTATION, 1)
    image_format = str(image.format)
    if image.mode not in _PLAIN_MODES:
        raise Refused("unsupported-pixels", f"pixels of the kind {image.mode} (floating point, Lab, ...)")
    codes: Codes
    if _is_16_bit(image, content):
        tags: Any = image.tag_v2 if image_format == "TIFF" else {}  # type: ignore[attr-defined]
        if tags:  # OpenCV turns such a file by itself, whatever it is told
            content = _as_if_upright(content)
        if tags.get(_PLANES) == 2 and tags.get(_SAMPLES, 1) > 1:
            raise Refused("unsupported-pixels", "a 16-bit TIFF file that holds one colour after the other")
        codes = _turn(_drop_alpha(_decode_16_bit(content, image.size)), orientation)
        if tags.get(_MEANING) == 0:  # 0 is white
            codes = np.invert(codes)
        profile, name = _profile_16_bit(icc_bytes, codes.ndim)
        converted = False
    else:
        if orientation != 1:
            image = ImageOps.exif_transpose(image)
        codes, profile, name, converted = _decode_8_bit(image, icc_bytes)
    return Decoded(
        codes=codes,
        profile=profile,
        icc_name=name,
        icc_bytes=icc_bytes,
        exif=exif,
        format=image_format,
        converted_to_srgb=converted,
    )


def _is_16_bit(image: Image.Image, content: bytes) -> bool:
    if image.mode.startswith("I;16"):
        return True
    if image.format == "PNG":  # the header says so: signature, length, "IHDR", width, height, depth
        return content[24:25] == b"\x10"
    if image.format == "TIFF":
        bits = image.tag_v2.get(258, (8,))  # type: ignore[attr-defined]
        sample_format = image.tag_v2.get(339, (1,))  # type: ignore[attr-defined]
        if any(int(kind) == 3 for kind in np.atleast_1d(sample_format)):
            raise Refused("unsupported-pixels", "floating-point samples")
        return int(np.max(bits)) == 16
    return False


def _decode_16_bit(content: bytes, size: tuple[int, int]) -> Codes:
    codes = cv2.imdecode(np.frombuffer(without_metadata(content), np.uint8), cv2.IMREAD_UNCHANGED)
    if codes is None or codes.dtype != np.uint16 or sorted(codes.shape[:2]) != sorted(size):
        raise Refused("damaged", "the 16-bit pixels cannot be decoded")
    if codes.ndim == 3 and codes.shape[2] == 4:
        return cv2.cvtColor(codes, cv2.COLOR_BGRA2RGBA)
    return cv2.cvtColor(codes, cv2.COLOR_BGR2RGB) if codes.ndim == 3 else codes


def _as_if_upright(tiff: bytes) -> bytes:
    """A TIFF or BigTIFF file whose first directory says orientation 1, if it says any."""
    order = "<" if tiff[:2] == b"II" else ">"
    big = 43 in tiff[2:4]
    first, count_of, entry_size, value_at = (8, "Q", 20, 12) if big else (4, "H", 12, 8)
    (directory,) = struct.unpack_from(order + ("Q" if big else "I"), tiff, first)
    (count,) = struct.unpack_from(order + count_of, tiff, directory)
    changed = bytearray(tiff)
    for k in range(count):
        entry = directory + struct.calcsize("=" + count_of) + k * entry_size
        tag, kind = struct.unpack_from(order + "HH", tiff, entry)
        if tag == _ORIENTATION:
            struct.pack_into(order + ("H" if kind == 3 else "I"), changed, entry + value_at, 1)
            break
    return bytes(changed)


def _drop_alpha(codes: Codes) -> Codes:
    if codes.ndim == 2 or codes.shape[2] == 3:
        return codes
    if codes[..., -1].min() < np.iinfo(codes.dtype).max:
        raise Refused("transparent", "the picture has transparent pixels; give the cut-out as name.alpha.png instead")
    return np.ascontiguousarray(codes[..., :3])


def _turn(codes: Codes, orientation: int) -> Codes:
    """The picture upright; EXIF numbers the eight turns and mirrors from 1."""
    if orientation in (5, 6, 7, 8):
        codes = np.swapaxes(codes, 0, 1)
    if orientation in (2, 3, 6, 7):
        codes = codes[:, ::-1]
    if orientation in (3, 4, 7, 8):
        codes = codes[::-1]
    return np.ascontiguousarray(codes)


def _profile_16_bit(icc_bytes: bytes, dimensions: int) -> tuple[icc.MatrixProfile | None, str]:
    if not icc_bytes:
        return None, "sRGB (assumed)"
    try:
        profile = icc.parse_profile(icc_bytes)
    except icc.ProfileError as error:
        raise Refused("unsupported-profile", f"16-bit picture whose profile cannot be applied: {error}") from error
    if (profile.to_xyz is None) != (dimensions == 2):
        raise Refused("unsupported-profile", f"profile '{profile.description}' is not for this kind of picture")
    return (None if profile.is_srgb else profile), profile.description


def _decode_8_bit(image: Image.Image, icc_bytes: bytes) -> tuple[Codes, icc.MatrixProfile | None, str, bool]:
    if image.mode == "CMYK":
        if not icc_bytes:
            raise Refused("cmyk-without-profile", "CMYK inks without a profile have no defined colours")
        return _through_littlecms(image, icc_bytes, "CMYK")
    if image.mode in ("P", "PA", "1", "YCbCr") or (image.mode in ("L", "RGB") and "transparency" in image.info):
        image = image.convert("RGBA" if "transparency" in image.info or image.mode == "PA" else "RGB")
    if image.mode == "RGBX":
        image = image.convert("RGB")
    if image.mode == "LA":
        image = image.convert("RGBA")
    image.load()
    codes = _drop_alpha(np.asarray(image))
    if not icc_bytes:
        return codes, None, "sRGB (assumed)", False
    try:
        profile = icc.parse_profile(icc_bytes)
    except icc.ProfileError as error:
        if "lookup tables" not in str(error):
            raise Refused("unsupported-profile", f"the colour profile is damaged: {error}") from error
        return _through_littlecms(Image.fromarray(codes), icc_bytes, "RGB")
    if profile.to_xyz is None and codes.ndim == 3:
        codes = np.ascontiguousarray(codes[..., 0])  # grey expanded above; a grey profile speaks of one channel
    elif profile.to_xyz is not None and codes.ndim == 2:
        codes = np.repeat(codes[..., None], 3, axis=2)
    return codes, (None if profile.is_srgb else profile), profile.description, False


def _through_littlecms(image: Image.Image, icc_bytes: bytes, mode: str) -> tuple[Codes, None, str, bool]:
    try:
        if icc.profile_space(icc_bytes) != mode:
            raise Refused("unsupported-profile", f"a {icc.profile_space(icc_bytes)} profile in a {mode} picture")
        source = ImageCms.getOpenProfile(io.BytesIO(icc_bytes))
        converted = ImageCms.profileToProfile(
            image,
            source,
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
        )
        name = ImageCms.getProfileDescription(source).strip()
    except (ImageCms.PyCMSError, icc.ProfileError) as error:
        raise Refused("unsupported-profile", f"the colour profile cannot be applied: {_one_line(error)}") from error
    return np.asarray(converted), None, name or "unnamed", True


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
