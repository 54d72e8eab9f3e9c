"""Which parts of a photograph become layers: given by the user, by a model on disk, or found on image edges.

`Subjects` hold masks at the photo's size, as found; nothing is ordered yet. A photo in which nothing acceptable is
found is `Refused`, with what was looked at in the detail.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from mattingmfif.errors import Refused, UserError
from mattingmfif.matting.contours import border_shares, contour_score, lab_of, pair_contrast, side_separation
from mattingmfif.matting.regions import propose_regions
from mattingmfif.matting.settings import MattingSettings
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
    model: dict[str, str] = field(default_factory=dict)  # name, sha256 and licence of the weights, if any

    def reordered(self, order: Sequence[int]) -> Subjects:
        """The same subjects in another order."""
        labels = self.labels
        if labels is not None:
            labels = labels.copy()
            for new, old in enumerate(order, start=1):
                labels[self.labels == old + 1] = new
        return Subjects(
            masks=[self.masks[k] for k in order],
            segmenter=self.segmenter,
            why=self.why,
            scores=[self.scores[k] for k in order] if self.scores else [{} for _ in order],
            are_alphas=self.are_alphas,
            labels=labels,
            model=self.model,
        )


def choose_segmenter(settings: MattingSettings, *, any_given: bool) -> tuple[str, str]:
    """(segmenter, why) for a whole build: `auto` is decided once, at plan time, and recorded."""
    if settings.segmenter != "auto":
        return settings.segmenter, "named in the recipe or on the command line"
    from mattingmfif.matting.models import available_model

    model = available_model(settings.rembg_model)
    if model is not None:
        return "rembg", f"the weights of {model.name} are on disk"
    given = "given mattes where there are some; " if any_given else ""
    return "classical", f"{given}no weights of an allow-listed rembg model are on disk (or rembg is not installed)"


def find_subjects(
    photo_srgb: Float32, settings: MattingSettings | None = None, user: UserInput | None = None
) -> Subjects:
    """The subjects of a photo `[H,W,3]` (sRGB 0..1). What the user gives always counts, before any segmenter.

    Raises `Refused` with `no-subject`, or with the reason why a given matte cannot be used.
    """
    settings = settings or MattingSettings()
    if user is not None and user.says_something:
        from mattingmfif.matting.given import subjects_from_user

        return subjects_from_user(photo_srgb, settings, user)
    segmenter = settings.segmenter
    if segmenter == "auto":
        segmenter, _ = choose_segmenter(settings, any_given=False)
    if segmenter == "given":
        raise Refused(
            "no-subject", "no matte, mask, trimap, box or scribbles are given for this photo", stage="segment"
        )
    if segmenter == "rembg":
        from mattingmfif.matting.models import subjects_from_model

        return subjects_from_model(photo_srgb, settings)
    if segmenter == "classical":
        return classical_subjects(photo_srgb, settings)
    raise UserError(f"segmenter: {segmenter!r} is unknown")


def classical_subjects(photo_srgb: Float32, settings: MattingSettings) -> Subjects:
    """Subjects found on image edges, without weights, at reduced size; raises `Refused("no-subject")`."""
    small = reduced_photo(photo_srgb, settings.segment_long_side_px)
    lab = lab_of(small)
    contrast = pair_contrast(lab)
    proposals = propose_regions(
        lab, settings.min_area_share, settings.max_area_share, settings.min_contour_score, settings.min_separation
    )
    accepted: list[tuple[Mask, dict[str, float]]] = []
    taken = np.zeros(lab.shape[:2], bool)
    tried = 0
    for region in proposals:
        if len(accepted) == settings.max_subjects or tried == 3 * settings.max_subjects:
            break
        if (region.mask & taken).any() or sum(share > 0.05 for share in border_shares(region.mask)) > 2:
            continue
        tried += 1
        refined = refine_by_colour(small, region.mask)
        agreement = iou(refined, region.mask)
        mask = refined if contour_score(refined, contrast) >= region.contour and agreement > 0.7 else region.mask
        mask = mask & ~taken
        score = contour_score(mask, contrast)
        separation = side_separation(mask, lab)
        if score < settings.min_contour_score or separation < settings.min_separation or agreement < 0.5:
            continue
        taken |= mask
        scores = {"contour": score, "separation": separation, "agreement": agreement, "area": float(mask.mean())}
        accepted.append((mask, scores))
    if not accepted:
        raise Refused(
            "no-subject",
            f"{len(proposals)} regions of {settings.min_area_share:.0%} to {settings.max_area_share:.0%} of the photo "
            f"have {settings.min_contour_score:.0%} of their outline on edges; none was confirmed by colour",
            stage="segment",
        )
    shape = (photo_srgb.shape[0], photo_srgb.shape[1])
    return Subjects(
        masks=[enlarged_mask(mask, shape) for mask, _ in accepted],
        segmenter="classical",
        why=f"{len(accepted)} of {len(proposals)} proposed regions have their outline on image edges",
        scores=[scores for _, scores in accepted],
    )


def reduced_photo(photo_srgb: Float32, long_side_px: int) -> Float32:
    """The photo at most `long_side_px` long, averaged over areas."""
    height, width = fit_long_side(photo_srgb.shape[0], photo_srgb.shape[1], long_side_px)
    return np.asarray(cv2.resize(photo_srgb, (width, height), interpolation=cv2.INTER_AREA), np.float32)


def enlarged_mask(mask: Mask, shape: tuple[int, int]) -> Mask:
    """A small mask at the photo's size, its outline smooth instead of stepped."""
    large = cv2.resize(mask.astype(np.float32), (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
    return np.asarray(large > 0.5)


def refine_by_colour(small_srgb: Float32, mask: Mask, reach_share: float = 0.02, iterations: int = 2) -> Mask:
    """The mask with its outline moved, within a narrow band, to where GrabCut's colour models part."""
    reach = max(2, round(reach_share * max(mask.shape)))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    inner = cv2.erode(mask.astype(np.uint8), disc) > 0
    outer = cv2.dilate(mask.astype(np.uint8), disc) > 0
    seeds = np.full(mask.shape, cv2.GC_BGD, np.uint8)
    seeds[outer] = cv2.GC_PR_BGD
    seeds[mask] = cv2.GC_PR_FGD
    seeds[inner] = cv2.GC_FGD
    return grab_cut(small_srgb, seeds, iterations)


def grab_cut(small_srgb: Float32, seeds: npt.NDArray[np.uint8], iterations: int) -> Mask:
    """GrabCut from `seeds` (OpenCV's GC_* values); the seeds themselves where one kind is missing."""
    wanted = (seeds == cv2.GC_FGD) | (seeds == cv2.GC_PR_FGD)
    if wanted.sum() < 20 or (~wanted).sum() < 20:
        return np.asarray(wanted)
    codes = np.round(np.clip(small_srgb, 0, 1) * 255).astype(np.uint8)
    labels = seeds.copy()
    cv2.setRNGSeed(0)  # its colour models start from random clusters
    cv2.grabCut(codes, labels, None, np.zeros((1, 65)), np.zeros((1, 65)), iterations, cv2.GC_INIT_WITH_MASK)
    found = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
    return largest_parts(np.asarray(found))


def largest_parts(mask: Mask, least_share: float = 0.1) -> Mask:
    """The mask without parts smaller than `least_share` of the largest one."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count <= 2:
        return mask
    areas = stats[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    return np.asarray((areas >= least_share * areas.max())[labels] & mask)


def iou(a: Mask, b: Mask) -> float:
    """Intersection over union; 1 for two empty masks."""
    union = int((a | b).sum())
    return int((a & b).sum()) / union if union else 1.0
