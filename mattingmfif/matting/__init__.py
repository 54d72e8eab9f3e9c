"""A photograph becomes cut-outs (colour and alpha) and the plate behind them.

contours, regions   where outlines lie on image edges; regions bounded by them
segment, given, models   subjects: by edges, from the user's files, from a rembg model on disk
trimap              known and unknown pixels
alpha               closed-form alpha on the unknown band
foreground, plate   colours unmixed; what was behind, filled
layers              all of it; put together again it is the photograph
"""

from __future__ import annotations

from mattingmfif.matting.alpha import estimate_alpha
from mattingmfif.matting.layers import Cutout, Cutouts, estimate_layers
from mattingmfif.matting.segment import Subjects, UserInput, choose_segmenter, find_subjects
from mattingmfif.matting.settings import MattingSettings

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
