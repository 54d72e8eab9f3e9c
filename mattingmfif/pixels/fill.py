"""Push-pull filling: unknown pixels take a smooth blend of the known ones around them, near ones first.

Pull: weighted sums over 2 x 2 pixels, level by level, until one pixel is left. Push: back up, each level keeps what it
knows and takes the rest from the coarser level. Linear in the number of pixels; nothing is sampled from outside.
"""

from __future__ import annotations

import numpy as np

from mattingmfif.pixels.colour import Float32


def push_pull(image: Float32, weight: Float32) -> Float32:
    """`image` `[H,W]` or `[H,W,C]` where `weight` `[H,W]` (0..1) is 1, filled smoothly where it is 0.

    In between, the pixel's own value counts with its weight. Values of pixels of weight 0 are never looked at (they may
    be NaN). Where every weight is 0, the result is 0.
    """
    from mattingmfif.pixels.kernels import pull, push

    planes = np.ascontiguousarray(image[..., None] if image.ndim == 2 else image, np.float32)
    weights = np.clip(np.asarray(weight, np.float32), 0.0, 1.0)
    levels = [(planes, weights)]
    while weights.size > 1 and (weights < 1).any():
        height, width = (-(-side // 2) for side in weights.shape)
        small, small_weights = (
            np.empty((height, width, planes.shape[2]), np.float32),
            np.empty((height, width), np.float32),
        )
        pull(*levels[-1], small, small_weights)
        levels.append((small, small_weights))
        weights = small_weights
    filled = levels[-1][0]
    if levels[-1][1].size == 1 and levels[-1][1].item() <= 0:
        filled = np.zeros_like(filled)
    for values, own in reversed(levels[:-1]):
        coarse, filled = filled, np.empty_like(values)
        push(values, own, coarse, filled)
    filled = filled if filled is not planes else planes.copy()
    return filled[..., 0] if image.ndim == 2 else filled
