"""Perceptual hashes: photographs that show the same picture at another size, quality or exposure get near-equal bits.

A hash has 256 bits: the signs of the 16 x 16 lowest cosine frequencies of the small grey picture against their median.
"""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from mattingmfif.pixels.colour import Float32

_GRID, _SIDE = 16, 64
#: two hashes with at most this many differing bits show the same picture (unrelated photographs differ by about 128)
NEAR_DUPLICATE_BITS = 40


def perceptual_hash(photo_srgb: Float32) -> str:
    """64 hexadecimal digits of a photograph `[H,W,3]` (sRGB, 0..1); mirror images and crops hash differently."""
    grey = cv2.cvtColor(np.ascontiguousarray(photo_srgb, np.float32), cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    low = cv2.dct(small)[:_GRID, :_GRID].ravel()
    bits = low > np.median(low[1:])  # the mean grey is no content
    bits[0] = False
    return np.packbits(bits).tobytes().hex()


def hash_distance(a: str, b: str) -> int:
    """The number of differing bits of two hashes."""
    return (int(a, 16) ^ int(b, 16)).bit_count()


def group_near_duplicates(hashes: Mapping[str, str], max_bits: int = NEAR_DUPLICATE_BITS) -> dict[str, str]:
    """For each path its group: the first path, in sorted order, of those linked to it by near-duplicate steps."""
    paths = sorted(hashes)
    if not paths:
        return {}
    words = np.array([np.frombuffer(bytes.fromhex(hashes[p]), np.uint64) for p in paths])
    group = list(range(len(paths)))

    def find(i: int) -> int:
        while group[i] != i:
            group[i] = group[group[i]]
            i = group[i]
        return i

    for i in range(len(paths) - 1):
        distances = np.bitwise_count(words[i + 1 :] ^ words[i]).sum(axis=1)
        for j in np.flatnonzero(distances <= max_bits) + i + 1:
            a, b = find(i), find(int(j))
            group[max(a, b)] = min(a, b)
    return {path: paths[find(i)] for i, path in enumerate(paths)}
