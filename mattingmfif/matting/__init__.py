"""A photograph becomes cut-outs (colour and alpha) and the plate behind them.

accepted            arrays from outside, checked once
contours, regions   where outlines lie on image edges; regions bounded by them
classical, given, models   subjects: by edges, from the user's files, from a rembg model on disk; segment chooses
trimap              known and unknown pixels
laplacian, alpha    closed-form alpha on the unknown band, from coarse to fine
foreground, plate   colours unmixed; what was behind, filled
layers              all of it; put together again it is the photograph
"""

from __future__ import annotations

from mattingmfif.matting.alpha import estimate_alpha
from mattingmfif.matting.layers import Cutout, Cutouts, estimate_layers
from mattingmfif.matting.segment import choose_segmenter, find_subjects
from mattingmfif.matting.settings import MattingSettings
from mattingmfif.matting.subjects import Subjects, UserInput

__all__ = [
    "Cutout",
    "Cutouts",
    "MattingSettings",
    "Subjects",
    "UserInput",
    "choose_segmenter",
    "estimate_alpha",
    "estimate_layers",
    "find_subjects",
]
