"""Colour profiles that are a matrix and tone curves (every common camera and display profile), read in float.

Notation: `XYZ` is relative to the profile connection space's white, D50; a tone curve maps code values 0..1 to light.
A profile with lookup tables (printers, CMYK) is no `MatrixProfile`; `images` hands it to LittleCMS, or refuses it.

Source: ICC.1:2022 (version 4.4) and ICC.1:2001-04, sections on the header, the tag table, `curv`, `para`, `XYZ`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mattingmfif.pixels.colour import Float32, srgb_to_linear

#: linear light with sRGB primaries -> XYZ at D50 (Bradford-adapted, as in every published sRGB profile)
SRGB_TO_XYZ_D50 = np.array(
    [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]]
)
_TABLE_SIZE = 65536
_MATRIX_TOLERANCE = 2e-3
_CURVE_TOLERANCE = 2e-3


class ProfileError(ValueError):
    """The profile is damaged, or not of the matrix kind."""


@dataclass(frozen=True, kw_only=True, eq=False)
class MatrixProfile:
    """A profile as numbers: `curves` `[C, 65536]` code -> light, `to_xyz` `[3,3]` light -> XYZ (None for grey)."""

    description: str
    curves: npt.NDArray[np.float64]
    to_xyz: npt.NDArray[np.float64] | None

    @property
    def is_srgb(self) -> bool:
        """True where the numbers, whatever the profile's name, are those of sRGB (a grey profile: its curve only)."""
        reference = srgb_to_linear(np.linspace(0, 1, _TABLE_SIZE)).astype(np.float64)
        same_curve = float(np.abs(self.curves - reference).max()) < _CURVE_TOLERANCE
        return same_curve and (
            self.to_xyz is None or float(np.abs(self.to_xyz - SRGB_TO_XYZ_D50).max()) < _MATRIX_TOLERANCE
        )

    def means_the_same_as(self, other: MatrixProfile) -> bool:
        """Whether the numbers of both are equal, whatever they are called and when they were made."""
        if not np.array_equal(self.curves, other.curves):
            return False
        if self.to_xyz is None or other.to_xyz is None:
            return self.to_xyz is other.to_xyz
        return bool(np.array_equal(self.to_xyz, other.to_xyz))

    def decode(self, codes: npt.NDArray[np.uint8 | np.uint16]) -> Float32:
        """Linear light in the profile's own primaries, `[H,W,3]` or `[H,W]`, of uint8 or uint16 codes."""
        top = np.iinfo(codes.dtype).max
        index = np.round(np.arange(top + 1) * ((_TABLE_SIZE - 1) / top)).astype(np.int64)
        tables = self.curves[:, index].astype(np.float32)
        if codes.ndim == 2:
            return tables[0][codes]
        return np.stack([tables[min(c, len(tables) - 1)][codes[..., c]] for c in range(3)], axis=-1)

    def encode(self, colour_linear: Float32, bits: int) -> npt.NDArray[np.uint8 | np.uint16]:
        """The nearest codes of linear light in the profile's own primaries; values outside 0..1 are clipped."""
        top = 2**bits - 1
        positions = np.linspace(0.0, top, _TABLE_SIZE)
        planes = colour_linear[..., None] if colour_linear.ndim == 2 else colour_linear
        out = np.empty(planes.shape, np.uint8 if bits == 8 else np.uint16)
        for c in range(planes.shape[-1]):
            curve = np.maximum.accumulate(self.curves[min(c, len(self.curves) - 1)])
            out[..., c] = np.interp(np.clip(planes[..., c], 0, 1), curve, positions) + 0.5
        return out[..., 0] if colour_linear.ndim == 2 else out

    def to_srgb_primaries(self, colour_linear: Float32) -> Float32:
        """The same colours with sRGB primaries, `[H,W,3]`; what lies outside sRGB's gamut is clipped to 0..1."""
        if self.to_xyz is None or float(np.abs(self.to_xyz - SRGB_TO_XYZ_D50).max()) < _MATRIX_TOLERANCE:
            return colour_linear
        matrix = (np.linalg.inv(SRGB_TO_XYZ_D50) @ self.to_xyz).astype(np.float32)
        return np.clip(colour_linear @ matrix.T, 0.0, 1.0)


def profile_space(profile: bytes) -> str:
    """The profile's colour space as its header names it: `RGB`, `GRAY`, `CMYK`, ...; raises `ProfileError`."""
    if len(profile) < 132 or profile[36:40] != b"acsp":
        raise ProfileError("it lacks the signature of an ICC profile")
    return profile[16:20].decode("ascii", "replace").strip()


def parse_profile(profile: bytes) -> MatrixProfile:
    """The matrix and curves of an ICC profile; raises `ProfileError` where it is damaged or has lookup tables."""
    space = profile_space(profile)
    tags = _tags(profile)
    name = _description(tags.get(b"desc", b""))
    try:
        if space == "GRAY":
            return MatrixProfile(description=name, curves=_curve(tags[b"kTRC"])[None], to_xyz=None)
        if space != "RGB" or b"A2B0" in tags:
            raise ProfileError(f"'{name}' is a {space} profile with lookup tables")
        curves = np.stack([_curve(tags[key]) for key in (b"rTRC", b"gTRC", b"bTRC")])
        to_xyz = np.stack([_xyz(tags[key]) for key in (b"rXYZ", b"gXYZ", b"bXYZ")], axis=1)
    except (KeyError, struct.error) as error:
        raise ProfileError(f"'{name}' lacks or breaks a tag: {error}") from error
    if abs(float(np.linalg.det(to_xyz))) < 1e-6:
        raise ProfileError(f"'{name}' has primaries that span no colours")
    return MatrixProfile(description=name, curves=curves, to_xyz=to_xyz)


def _tags(profile: bytes) -> dict[bytes, bytes]:
    (count,) = struct.unpack_from(">I", profile, 128)
    if count > 200 or 132 + 12 * count > len(profile):
        raise ProfileError("its tag table is longer than the file")
    tags = {}
    for i in range(count):
        key, offset, size = struct.unpack_from(">4sII", profile, 132 + 12 * i)
        if offset + size > len(profile):
            raise ProfileError(f"its tag {key!r} lies outside the file")
        tags[key] = profile[offset : offset + size]
    return tags


def _xyz(tag: bytes) -> npt.NDArray[np.float64]:
    return np.array(struct.unpack_from(">3i", tag, 8)) / 65536.0


def _curve(tag: bytes) -> npt.NDArray[np.float64]:
    """Light at 65,536 even steps of the code."""
    x = np.linspace(0.0, 1.0, _TABLE_SIZE)
    if tag[:4] == b"curv":
        (count,) = struct.unpack_from(">I", tag, 8)
        if count == 0:
            return x
        if count == 1:
            return np.asarray(x ** (struct.unpack_from(">H", tag, 12)[0] / 256.0))
        if 12 + 2 * count > len(tag):
            raise ProfileError("a tone curve is longer than its tag")
        table = np.frombuffer(tag, ">u2", count, 12) / 65535.0
        return np.interp(x, np.linspace(0.0, 1.0, count), table)
    if tag[:4] == b"para":
        return _parametric(tag, x)
    raise ProfileError(f"unknown kind of tone curve {tag[:4]!r}")


def _parametric(tag: bytes, x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    (kind,) = struct.unpack_from(">H", tag, 8)
    lengths = {0: 1, 1: 3, 2: 4, 3: 5, 4: 7}
    if kind not in lengths:
        raise ProfileError(f"unknown parametric curve {kind}")
    values = [v / 65536.0 for v in struct.unpack_from(f">{lengths[kind]}i", tag, 12)]
    g, a, b, c, d, e, f = (values + [0.0] * 7)[:7]
    if kind == 0:
        return np.asarray(x**g)
    power = np.maximum(a * x + b, 0.0) ** g
    if kind in (1, 2):
        offset = c if kind == 2 else 0.0
        return np.where(x >= (-b / a if a else 0.0), power + offset, offset)
    if kind == 3:
        return np.where(x >= d, power, c * x)
    return np.where(x >= d, power + e, c * x + f)


def _description(tag: bytes) -> str:
    """The profile's name, from a version 2 (`desc`) or version 4 (`mluc`) text; 'unnamed' where there is none."""
    text = ""
    if tag[:4] == b"desc" and len(tag) >= 12:
        (length,) = struct.unpack_from(">I", tag, 8)
        text = tag[12 : 12 + max(0, min(length, len(tag) - 12))].decode("ascii", "replace")
    elif tag[:4] == b"mluc" and len(tag) >= 28:
        length, offset = struct.unpack_from(">II", tag, 20)
        text = tag[offset : offset + length].decode("utf-16-be", "replace")
    text = "".join(ch for ch in text if ch.isprintable()).strip()
    return text[:80] or "unnamed"
