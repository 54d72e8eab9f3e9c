"""Colour profile and EXIF put into a finished PNG file (OpenCV writes 16-bit PNGs, but no metadata).

Source: PNG specification, third edition, sections on `iCCP` and `eXIf`: both stand between the header and the pixels.
"""

from __future__ import annotations

import struct
import zlib

_HEADER_END = 8 + 25  # signature, then the IHDR chunk with its length, name, 13 bytes and checksum


def with_metadata(png: bytes, icc_profile: bytes, exif: bytes) -> bytes:
    """The PNG file `png` with an embedded profile and EXIF block (each left out where empty)."""
    chunks = b""
    if icc_profile:
        chunks += _chunk(b"iCCP", b"profile\0\0" + zlib.compress(icc_profile))
    if exif:
        chunks += _chunk(b"eXIf", exif.removeprefix(b"Exif\0\0"))
    return png[:_HEADER_END] + chunks + png[_HEADER_END:]


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
