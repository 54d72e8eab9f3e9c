"""Subjects as the user gives them."""

from __future__ import annotations

import numpy as np

from mattingmfif.errors import Refused
from mattingmfif.matting.segment import Subjects, UserInput
from mattingmfif.matting.settings import MattingSettings
from mattingmfif.pixels.colour import Float32


def subjects_from_user(photo_srgb: Float32, settings: MattingSettings, user: UserInput) -> Subjects:
    """The user's subjects."""
    if user.alphas:
        return Subjects(
            masks=[np.asarray(a, np.float32) for a in user.alphas],
            segmenter="given",
            why="alpha",
            scores=[{} for _ in user.alphas],
            are_alphas=True,
        )
    if user.masks:
        return Subjects(masks=list(user.masks), segmenter="given", why="mask", scores=[{} for _ in user.masks])
    raise Refused("no-subject", "nothing given", stage="segment")
