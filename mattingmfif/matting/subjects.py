"""What is said about the subjects of a photo, and the masks that come of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
import numpy.typing as npt

from mattingmfif.matting.trimap import Labels
from mattingmfif.pixels.colour import Float32
from mattingmfif.pixels.resample import fit_long_side

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class UserInput:
    """What the user says about one photo, all `[H,W]` at the photo's size; everything optional.

    `alphas` float 0..1, `masks` bool, `labels` as in `trimap` (from trimap files), `boxes` (x0, y0, x1, y1) in pixels,
    `scribbles` int16 (0 background, 1.. subjects, -1 not said), `plate_linear` `[H,W,3]` the picture without subjects.
    """

    alphas: tuple[Float32, ...] = ()
    masks: tuple[Mask, ...] = ()
    labels: Labels | None = None
    boxes: tuple[tuple[int, int, int, int], ...] = ()
    scribbles: Labels | None = None
    plate_linear: Float32 | None = None

    @property
    def says_something(self) -> bool:
        """True where any subject is given."""
        return bool(self.alphas or self.masks or self.boxes) or self.labels is not None or self.scribbles is not None


@dataclass(frozen=True, kw_only=True, eq=False)
class Subjects:
    """The subjects of a photo: `masks` (bool, or float alphas where `are_alphas`), who found them and why these."""

    masks: list[npt.NDArray[np.bool_ | np.float32]]
    segmenter: str
    why: str
    scores: list[dict[str, float]] = field(default_factory=list)
    are_alphas: bool = False
    labels: Labels | None = None
    left_out: int = 0  # more were given than may be used
    model: dict[str, str] = field(default_factory=dict)  # name, sha256 and licence of the weights, if any

    def reordered(self, order: Sequence[int]) -> Subjects:
        """The same subjects in another order."""
        labels = self.labels
        if labels is not None:
            labels = labels.copy()
            for new, old in enumerate(order, start=1):
                labels[self.labels == old + 1] = new
        return replace(
            self,
            masks=[self.masks[k] for k in order],
            scores=[self.scores[k] for k in order] if self.scores else [{} for _ in order],
            labels=labels,
        )


def reduced_photo(photo_srgb: Float32, long_side_px: int) -> Float32:
    """The photo at most `long_side_px` long, averaged over areas."""
    height, width = fit_long_side(photo_srgb.shape[0], photo_srgb.shape[1], long_side_px)
    return np.asarray(cv2.resize(photo_srgb, (width, height), interpolation=cv2.INTER_AREA), np.float32)


def enlarged_mask(mask: Mask, shape: tuple[int, int]) -> Mask:
    """A small mask at the photo's size, its outline smooth instead of stepped."""
    large = cv2.resize(mask.astype(np.float32), (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
    return np.asarray(large > 0.5)
