"""Colour profile and EXIF put into a finished PNG file, or taken out of one, for OpenCV.

It writes 16-bit PNGs, but no metadata, and prints what it thinks of a profile when it reads one. Source: PNG
specification, third edition: `iCCP` and `eXIf` stand between the header and the pixels; the name of a chunk that is
needed to see the picture begins with a capital.
"""

from __future__ import annotations

import struct
import zlib

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER_END = 8 + 25  # signature, then the IHDR chunk with its length, name, 13 bytes and checksum


def with_metadata(png: bytes, icc_profile: bytes, exif: bytes) -> bytes:
    """The PNG file `png` with an embedded profile and EXIF block (each left out where empty)."""
    chunks = b""
    if icc_profile:
        chunks += _chunk(b"iCCP", b"profile\0\0" + zlib.compress(icc_profile))
    if exif:
        chunks += _chunk(b"eXIf", exif.removeprefix(b"Exif\0\0"))
    return png[:_HEADER_END] + chunks + png[_HEADER_END:]


def without_metadata(content: bytes) -> bytes:
    """A PNG file without what is not needed for its pixels; other files, and broken ones, as they are."""
    if not content.startswith(_SIGNATURE):
        return content
    kept, place = [_SIGNATURE], len(_SIGNATURE)
    while place + 12 <= len(content):
        length, name = struct.unpack(">I4s", content[place : place + 8])
        end = place + 12 + length
        if name[:1].isupper() or name == b"tRNS":
            kept.append(content[place:end])
        place = end
    return b"".join(kept) + (content[place:] if place < len(content) else b"")


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
