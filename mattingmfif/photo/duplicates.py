"""Perceptual hashes: photographs that show the same picture at another size, quality or exposure get near-equal bits.

A hash has 256 bits: the signs of the 16 x 16 lowest cosine frequencies of the small grey picture against their median.
One hash does not know a mirror image or a crop: those are known by the hashes of the pictures that a photograph
contains, which are all it takes one product of matrices each to make (reduction and cosines are linear).
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product

import cv2
import numpy as np
import numpy.typing as npt

from mattingmfif.pixels.colour import Float32

Hashes = npt.NDArray[np.uint64]

_GRID, _SIDE = 16, 64
#: two hashes with at most this many differing bits show the same picture (unrelated photographs differ by about 128)
NEAR_DUPLICATE_BITS = 40
#: crops that are known: this much off each side, in px of a picture of 160 px
_BASE, _CUTS = 160, (0, 8, 16)
#: crops but the whole, and the other seven ways to turn and mirror it
VIEWS = len(_CUTS) ** 4 - 1 + 7


def perceptual_hash(photo_srgb: Float32) -> str:
    """64 hexadecimal digits of a photograph `[H,W,3]` (sRGB, 0..1); mirror images and crops hash differently."""
    small = cv2.resize(_grey(photo_srgb), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    return _signs(cv2.dct(small)[None, :_GRID, :_GRID])[0].tobytes().hex()


def view_hashes(photo_srgb: Float32) -> bytes:
    """The hashes of what else shows the same picture: turned, mirrored, cropped by up to a tenth on each side."""
    photo = np.ascontiguousarray(photo_srgb, np.float32)
    small = _grey(cv2.resize(photo, (_BASE, _BASE), interpolation=cv2.INTER_AREA))
    reduce = _reductions()
    across = small @ reduce.reshape(-1, _BASE).T
    both = (reduce.reshape(-1, _BASE) @ across).reshape(len(reduce), _GRID, len(reduce), _GRID)
    cropped = both.swapaxes(1, 2).reshape(-1, _GRID, _GRID)
    whole, crops = cropped[0], cropped[1:]
    odd = np.where(np.arange(_GRID) % 2, np.float32(-1), np.float32(1))  # mirrored, the odd cosines change their sign
    mirrored = [whole * rows * columns for rows in (1, odd[:, None]) for columns in (1, odd[None, :])]
    turned = [plane for own in mirrored for plane in (own, own.T)][1:]
    return _signs(np.concatenate([crops, np.stack(turned)])).tobytes()


def hash_distance(a: str, b: str) -> int:
    """The number of differing bits of two hashes."""
    return (int(a, 16) ^ int(b, 16)).bit_count()


def words_of(hashes: str | bytes) -> Hashes:
    """Hashes as rows of four words `[n,4]`."""
    content = bytes.fromhex(hashes) if isinstance(hashes, str) else hashes
    return np.frombuffer(content, np.uint64).reshape(-1, 4)


def distances(hashes: Hashes, others: Hashes) -> npt.NDArray[np.uint16]:
    """The numbers of differing bits of hashes `[...,4]` and `[...,4]`, broadcast."""
    planes = (np.bitwise_count(hashes[..., k] ^ others[..., k]) for k in range(4))
    return np.asarray(sum(plane.astype(np.uint16) for plane in planes), np.uint16)


def _grey(photo_srgb: Float32) -> Float32:
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(photo_srgb, np.float32), cv2.COLOR_RGB2GRAY), np.float32)


@lru_cache(maxsize=1)
def _reductions() -> Float32:
    """`[cuts at both ends, 16, 160]`: the low cosines of a line of 160 px, cut and reduced to 64; whole first."""
    line = np.eye(_BASE, dtype=np.float32)
    cosines = cv2.dct(np.eye(_SIDE, dtype=np.float32), flags=cv2.DCT_ROWS).T[:_GRID]
    made = []
    for start, end in product(_CUTS, repeat=2):
        reduced = cv2.resize(line[start : _BASE - end], (_BASE, _SIDE), interpolation=cv2.INTER_AREA)
        made.append(cosines @ reduced)
    return np.stack(made).astype(np.float32)


def _signs(low: Float32) -> Hashes:
    """The hashes `[n,4]` of planes of low cosines `[n,16,16]`."""
    flat = low.reshape(len(low), -1)
    bits = flat > np.median(flat[:, 1:], axis=1, keepdims=True)  # the mean grey is no content
    bits[:, 0] = False
    return np.packbits(bits, axis=1).view(np.uint64)
