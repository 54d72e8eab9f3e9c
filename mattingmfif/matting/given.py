"""Subjects as the user gives them: alphas as they are, masks and boxes refined, trimaps and scribbles solved.

A given matte is checked for what would poison a sample (empty, full, inverted), not for taste.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from mattingmfif.errors import Refused
from mattingmfif.matting.classical import grab_cut
from mattingmfif.matting.contours import border_shares, contour_score, lab_of, pair_contrast
from mattingmfif.matting.settings import MattingSettings
from mattingmfif.matting.subjects import Subjects, UserInput, enlarged_mask, reduced_photo
from mattingmfif.matting.trimap import UNKNOWN, Labels
from mattingmfif.pixels.colour import Float32

Mask = npt.NDArray[np.bool_]


def subjects_from_user(photo_srgb: Float32, settings: MattingSettings, user: UserInput) -> Subjects:
    """The user's subjects, the most explicit kind first: alpha, trimap, mask, scribbles, box.

    Raises ValueError for arrays of another size than the photo's.
    """
    for given in (*user.alphas, *user.masks, user.labels, user.scribbles):
        if given is not None and np.shape(given) != photo_srgb.shape[:2]:
            raise ValueError(f"user input {np.shape(given)} and photo {photo_srgb.shape} differ in size")
    small = reduced_photo(photo_srgb, settings.segment_long_side_px)
    labels: Labels | None = None
    masks: list[npt.NDArray[np.bool_ | np.float32]]
    if user.alphas:
        kind, masks = "alpha", [np.asarray(alpha, np.float32) for alpha in user.alphas]
    elif user.labels is not None:
        kind, labels = "trimap", user.labels
        masks = [user.labels == k for k in range(1, max(1, int(user.labels.max())) + 1)]
    elif user.masks:
        kind, masks = "mask", list(user.masks)
    elif user.scribbles is not None:
        kind, masks = "scribbles", list(_from_scribbles(small, user.scribbles))
    else:
        kind, masks = "box", [_from_box(small, box, photo_srgb.shape) for box in user.boxes[: settings.max_subjects]]
    given_in_all = len(user.boxes) if kind == "box" else len(masks)
    if len(masks) > settings.max_subjects:
        masks = masks[: settings.max_subjects]
        if labels is not None:
            labels = np.where(labels > len(masks), np.int16(0), labels)
    for mask in masks:
        _check(np.asarray(mask), kind)
    contrast = pair_contrast(lab_of(small))
    size = (small.shape[1], small.shape[0])
    scores = []
    for mask in masks:
        reduced = cv2.resize(np.asarray(mask, np.float32), size, interpolation=cv2.INTER_AREA)
        scores.append({"contour": contour_score(reduced > 0.5, contrast), "area": float(reduced.mean())})
    return Subjects(
        masks=masks,
        segmenter="given",
        why=f"the user's {kind}",
        left_out=given_in_all - len(masks),
        scores=scores,
        are_alphas=kind == "alpha",
        labels=labels,
    )


def _check(matte: npt.NDArray[np.generic], kind: str) -> None:
    """Raise `Refused` where a matte `[H,W]` (0..1 or bool) leaves no subject or no background."""
    values = matte.astype(np.float32)
    if not np.isfinite(values).all():
        raise Refused("matte-unreadable", f"the {kind} holds NaN or infinite values", stage="matte")
    share = float(values.mean())
    if float(values.max(initial=0.0)) < 0.5:
        raise Refused("empty-matte", f"the {kind} marks no pixel as subject", stage="matte")
    if float(values.min(initial=1.0)) > 0.5:
        raise Refused("full-matte", f"the {kind} marks every pixel as subject", stage="matte")
    borders = border_shares(values > 0.5)
    if min(borders) > 0.8 and share > 0.5:
        raise Refused(
            "inverted-matte",
            f"the {kind} covers {share:.0%} of the photo and its border all around: white must be the subject",
            stage="matte",
        )
    if min(borders) > 0.5:
        raise Refused("touches-all-borders", f"the {kind} runs into all four borders of the photo", stage="matte")


def _from_box(small: Float32, box: tuple[int, int, int, int], shape: tuple[int, ...]) -> Mask:
    """GrabCut within a box given at the photo's size."""
    height, width = small.shape[:2]
    x0, x1 = (round(x * width / shape[1]) for x in (box[0], box[2]))
    y0, y1 = (round(y * height / shape[0]) for y in (box[1], box[3]))
    seeds = np.full((height, width), cv2.GC_BGD, np.uint8)
    seeds[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)] = cv2.GC_PR_FGD
    if (seeds == cv2.GC_BGD).sum() < 20:
        raise Refused("full-matte", "the box covers the whole photo", stage="matte")
    return enlarged_mask(grab_cut(small, seeds, 5), (shape[0], shape[1]))


def _from_scribbles(small: Float32, scribbles: Labels) -> list[Mask]:
    """One mask a subject, grown from its strokes by GrabCut; strokes of the others count as background."""
    height, width = small.shape[:2]
    count = int(scribbles.max())
    if count < 1:
        raise Refused("empty-matte", "the scribbles mark no subject (white strokes)", stage="matte")
    strokes = []
    for k in range(count + 1):
        share = cv2.resize((scribbles == k).astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
        strokes.append(np.asarray(share > min(0.1, 0.5 * float(share.max()))))  # some of the thinnest is left
    masks: list[Mask] = []
    for k in range(1, count + 1):
        others = np.any([strokes[j] for j in range(count + 1) if j != k], axis=0)
        seeds = np.where(_more_like(small, strokes[k], others), cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
        seeds[others] = cv2.GC_BGD
        seeds[strokes[k]] = cv2.GC_FGD
        shape = (scribbles.shape[0], scribbles.shape[1])
        mask = enlarged_mask(grab_cut(small, seeds, 5), shape) | (scribbles == k)
        taken = np.any(masks, axis=0) if masks else np.zeros(shape, bool)
        masks.append(mask & ~taken & ~((scribbles != k) & (scribbles != UNKNOWN)))
    return masks


def _more_like(small: Float32, own: Mask, others: Mask) -> Mask:
    """Where colour and place are nearer to the strokes `own` than to `others` (the picture's border where none)."""
    lab = lab_of(small)
    if not others.any():
        others = np.zeros(own.shape, bool)
        others[[0, -1]] = True
        others[:, [0, -1]] = True
        others &= ~own
    if not others.any():
        return np.ones(own.shape, bool)
    costs = []
    for strokes in (own, others):
        distance = cv2.distanceTransform((~strokes).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
        samples = lab[strokes][:: max(1, int(strokes.sum()) // 60)]
        colour = np.min([((lab - sample) ** 2).sum(axis=-1) for sample in samples], axis=0) if len(samples) else 0.0
        costs.append(np.sqrt(colour) + 30.0 * distance / max(own.shape))
    return np.asarray(costs[0] < costs[1])
