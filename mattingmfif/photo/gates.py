"""Is a photograph large enough, and sharp all over? Judged at the size at which it will be used.

The target of a focus stack must be sharp everywhere, so a photograph with a shallow depth of field poisons it. The
width of its edges is measured place by place (`edge_width`); the score is the share of soft places among those with
enough contrast to tell. Where there is little (clear sky) there is no evidence either way.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from mattingmfif.errors import Refused, UserError
from mattingmfif.photo.edge_width import GradientEnergies, gradient_energies
from mattingmfif.pixels.colour import Float32
from mattingmfif.pixels.grain import denoise, grain_sigma

#: cells of the grid that a part of a photograph needs to be judged by itself
LEAST_EVIDENCE = 30
#: the name of the part whose borders are not its own
BACKGROUND = "background"
_LEAST_WINDOW_PX = 3.0
#: how much more of a picture may be mildly soft for each octave by which it is larger
_MILD_SHARE_PER_OCTAVE = 0.45


@dataclass(frozen=True, kw_only=True)
class GateSettings:
    """What a photograph must be like to be used."""

    min_long_side_px: int = 512  # smaller photographs are never enlarged
    min_short_side_px: int = 64  # narrower ones hold no scene
    max_aspect_ratio: float = 6.0  # long side to short side: panoramas beyond have no lens that could have seen them
    max_soft_share: float = 0.16  # share of the structured area whose edges are softer than soft_edge_width_px
    soft_edge_width_px: float = 1.5  # Gaussian sigma of an edge, in pixels of the output
    denoise_from_codes: float = 1.5  # photos with more grain (sigma, codes of 255) are denoised before use
    max_grain_codes: float = 12.0  # and those with more than this refused
    min_contrast_codes: float = 12.0  # local contrast (of 255) below which a place says nothing about sharpness
    max_soft_part_share: float = field(default=0.55, metadata={"later": True})  # the same of one layer
    # ... and this share of the long side: fine detail of a large picture is seldom as crisp as its pixels
    soft_edge_width_share: float = field(default=1 / 640, metadata={"later": True})
    # share of the structured area, of a large photo or its background, that may be softer than soft_edge_width_px alone
    max_mildly_soft_share: float = field(default=0.7, metadata={"later": True})
    edge_window_share: float = 0.01  # sigma of the window that weighs edges, as a share of the long side

    def soft_width_px(self, long_side_px: int) -> float:
        """The edge width, Gaussian sigma in px, above which a place of a picture of that size is out of focus."""
        return max(self.soft_edge_width_px, self.soft_edge_width_share * long_side_px)

    def mildly_soft_limit(self, long_side_px: int) -> float:
        """The share that may be softer than `soft_edge_width_px` alone.

        `max_soft_share` while both widths are one, growing with the octaves between them to `max_mildly_soft_share`.
        """
        octaves = math.log2(self.soft_width_px(long_side_px) / self.soft_edge_width_px)
        grown = self.max_soft_share + octaves * _MILD_SHARE_PER_OCTAVE
        return max(self.max_soft_share, min(self.max_mildly_soft_share, grown))

    def __post_init__(self) -> None:
        for name in ("min_long_side_px", "min_short_side_px"):
            if getattr(self, name) < 1:
                raise UserError(f"{name}: {getattr(self, name)} is too small; allowed: 1 or more")
        if not 0.0 <= self.max_soft_share <= 1.0:
            raise UserError(f"max_soft_share: {self.max_soft_share} is no share; allowed: 0 to 1 (1 keeps every photo)")
        if not 0.0 <= self.max_soft_part_share <= 1.0:
            raise UserError(f"max_soft_part_share: {self.max_soft_part_share} is no share; allowed: 0 to 1")
        if not 0.0 <= self.soft_edge_width_share <= 0.1:
            raise UserError(f"soft_edge_width_share: {self.soft_edge_width_share}; allowed: 0 (pixels count) to 0.1")
        if not 0.0 <= self.max_mildly_soft_share <= 1.0:
            raise UserError(f"max_mildly_soft_share: {self.max_mildly_soft_share} is no share; allowed: 0 to 1")
        if not 0.001 <= self.edge_window_share <= 0.1:
            raise UserError(f"edge_window_share: {self.edge_window_share}; allowed: 0.001 to 0.1")
        if self.max_aspect_ratio < 1 or self.soft_edge_width_px <= 0 or self.min_contrast_codes <= 0:
            raise UserError("max_aspect_ratio: at least 1; soft_edge_width_px and min_contrast_codes: above 0")


@dataclass(frozen=True, kw_only=True, eq=False)
class SharpnessReport:
    """`score`: the share of places out of focus (0 sharp all over), their edges wider than `soft_width_px`.

    `mild_score`: the share of those wider than the recipe's `soft_edge_width_px`, of which a photo and its background
    may have `mild_limit`. Maps are `[h,w]`, reduced by `cell_px`.
    """

    score: float
    mild_score: float
    mild_limit: float
    soft_width_px: float
    passed: bool
    reason: str
    evidence_share: float
    cell_px: int
    edge_width_px: Float32
    evidence: npt.NDArray[np.bool_]
    energies: GradientEnergies
    min_contrast_codes: float

    def soft_share_within(
        self, mask: npt.NDArray[np.bool_], soft_edge_width_px: float, owns_outline: bool = False
    ) -> float:
        """The share of soft places within `mask` `[H,W]`; NaN where the mask holds next to no evidence.

        Only edges inside the mask count: the outline of what stands in front is sharp whatever lies behind it. For a
        thing that `owns_outline` (a subject) it is the mean of that share and of the one with the outline: its inside
        may be smooth by nature.
        """
        height, width = self.evidence.shape
        cover = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA).reshape(
            height, width
        )
        whole = cover > 0.99
        kernel = np.ones((2 * self.energies.reach_cells + 1,) * 2, np.uint8)
        inner = cv2.erode(whole.astype(np.uint8), kernel, borderValue=1) > 0
        inside = self._soft_share(inner, soft_edge_width_px)
        if not owns_outline:
            return self._soft_share(whole, soft_edge_width_px) if np.isnan(inside) else inside
        outer = cv2.dilate((cover > 0.01).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        with_outline = self._soft_share(outer, soft_edge_width_px)
        return with_outline if np.isnan(inside) else (inside + with_outline) / 2

    def _soft_share(self, part: npt.NDArray[np.bool_], soft_edge_width_px: float) -> float:
        if part.sum() < LEAST_EVIDENCE:
            return float("nan")
        edge_width_px, contrast_codes = self.energies.edges(part)
        inside = part & (contrast_codes > self.min_contrast_codes)
        if inside.sum() < LEAST_EVIDENCE:
            return float("nan")
        return float((edge_width_px[inside] > soft_edge_width_px).mean())


def check_size(height: int, width: int, settings: GateSettings) -> None:
    """Raise `Refused` where a photograph of this size is too small or too narrow."""
    long_side, short_side = max(height, width), min(height, width)
    if long_side < settings.min_long_side_px:
        raise Refused("too-small", f"{width}x{height}; the long side must have {settings.min_long_side_px} px")
    if short_side < settings.min_short_side_px or long_side > settings.max_aspect_ratio * short_side:
        raise Refused(
            "too-narrow",
            f"{width}x{height}; the short side must have {settings.min_short_side_px} px and at least "
            f"1/{settings.max_aspect_ratio:g} of the long side",
        )


def sharpness_report(photo_srgb: Float32, settings: GateSettings | None = None) -> SharpnessReport:
    """How soft a photograph is, measured at the size given (reduce to the output size first).

    `photo_srgb` `[H,W,3]` encoded sRGB 0..1. The report names score, threshold and share of evidence in `reason`.
    """
    settings = settings or GateSettings()
    window_px = max(_LEAST_WINDOW_PX, settings.edge_window_share * max(photo_srgb.shape[:2]))
    energies = gradient_energies(photo_srgb, window_px)
    width_px, contrast = energies.edges()
    evidence = contrast > settings.min_contrast_codes
    found = int(evidence.sum())
    long_side_px = max(photo_srgb.shape[:2])
    soft_width_px, mild_limit = settings.soft_width_px(long_side_px), settings.mildly_soft_limit(long_side_px)
    score, mild_score = (
        float((width_px[evidence] > limit).mean()) if found else 0.0
        for limit in (soft_width_px, settings.soft_edge_width_px)
    )
    told = (score, soft_width_px, settings.max_soft_share)
    if score <= settings.max_soft_share and mild_score > mild_limit:
        told = (mild_score, settings.soft_edge_width_px, mild_limit)
    return SharpnessReport(
        score=score,
        mild_score=mild_score,
        mild_limit=mild_limit,
        soft_width_px=soft_width_px,
        passed=told[0] <= told[2],
        reason=f"{told[0]:.0%} of the structured area has edges wider than {told[1]:.3g} px; {told[2]:.0%} are allowed",
        evidence_share=found / evidence.size,
        cell_px=energies.cell_px,
        edge_width_px=width_px,
        evidence=evidence,
        energies=energies,
        min_contrast_codes=settings.min_contrast_codes,
    )


def check_sharpness(photo_srgb: Float32, settings: GateSettings | None = None) -> SharpnessReport:
    """The sharpness report of a photograph that passes; raises `Refused` for one that is soft."""
    report = sharpness_report(photo_srgb, settings)
    if not report.passed:
        raise Refused("soft", report.reason)
    return report


def check_parts(
    report: SharpnessReport, parts: Mapping[str, npt.NDArray[np.bool_]], settings: GateSettings | None = None
) -> dict[str, float]:
    """Soft share of each part `[H,W]` (the subjects, and `BACKGROUND`); raises `Refused` where one is out of focus.

    A photo may pass as a whole while one of its layers is soft: that is a natural depth of field. Parts without
    structure are left out.
    """
    settings = settings or GateSettings()
    shares = {}
    for name, mask in parts.items():
        share = report.soft_share_within(mask, report.soft_width_px, name != BACKGROUND)
        if np.isfinite(share):
            shares[name] = share
    for name, share in shares.items():
        if share > settings.max_soft_part_share:
            detail = f"{share:.0%} of the structured area of the {name} is out of focus"
            raise Refused("soft", f"{detail}; {settings.max_soft_part_share:.0%} are allowed", stage="matting")
    if BACKGROUND in parts:
        share = report.soft_share_within(parts[BACKGROUND], settings.soft_edge_width_px)
        limit = max(report.mild_limit, settings.max_soft_part_share)
        if share > limit:  # never where it is NaN
            detail = f"{share:.0%} of the structured area of the background is soft"
            raise Refused("soft", f"{detail}; {limit:.0%} are allowed", stage="matting")
    return shares


def clean_grain(photo_srgb: Float32, settings: GateSettings | None = None) -> tuple[Float32, float]:
    """(the photo, denoised where its grain is measurable, and the grain's sigma in codes of 255 before that).

    Blur removes grain, so in a grainy source a network could read noise instead of focus. Raises `Refused` where there
    is more grain than smoothing can take away.
    """
    settings = settings or GateSettings()
    sigma_codes = grain_sigma(photo_srgb)
    if sigma_codes > settings.max_grain_codes:
        detail = f"grain of {sigma_codes:.1f} codes; {settings.max_grain_codes:g} are allowed"
        raise Refused("grainy", detail)
    if sigma_codes <= settings.denoise_from_codes:
        return photo_srgb, sigma_codes
    return denoise(photo_srgb, sigma_codes), sigma_codes
