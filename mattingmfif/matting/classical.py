"""Subjects found on image edges, without weights: regions whose contour is true, confirmed by colour."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from mattingmfif.errors import Refused
from mattingmfif.matting.contours import border_shares, contour_score, lab_of, pair_contrast, side_separation
from mattingmfif.matting.regions import propose_regions
from mattingmfif.matting.settings import MattingSettings
from mattingmfif.matting.subjects import Mask, Subjects, enlarged_mask, reduced_photo
from mattingmfif.pixels.colour import Float32


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
