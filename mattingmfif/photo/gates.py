"""Is a photograph large enough, and sharp all over? Judged at the size at which it will be used.

The target of a focus stack must be sharp everywhere, so a photograph with a shallow depth of field poisons it.

How wide edges are. Smooth the luminance gradient g (sRGB codes a pixel) by a Gaussian of sigma_c (the long side / 100).
Across an edge of contrast c blurred by a Gaussian of sigma,

    |mean g|  = c / (sqrt(2 pi) sigma_c)              (what the edge weighs, whatever its width)
    mean g^2  = c^2 / (2 sqrt(pi) sigma)  * the same  (a narrow edge concentrates it)

so width = sigma_c / sqrt(2) * |mean g|^2 / mean g^2 is the local edge width sigma in pixels, up to the constant of the
Gaussian at its own centre. The ratio needs no edge detector, is blind to contrast, holds beside an edge as on it (both
fall off alike), and fine texture only lowers it. Noise adds to mean g^2 and is taken out first. Where the local
contrast |mean g| sqrt(2 pi) sigma_c is small (clear sky) there is no evidence either way.

The score is the share of soft places among the places with evidence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from mattingmfif.errors import Refused, UserError
from mattingmfif.pixels.colour import Float32
from mattingmfif.pixels.grain import denoise, grain_sigma

#: cells of the grid that a part of a photograph needs to be judged by itself
LEAST_EVIDENCE = 30
_FLAT_PERCENTILE = 1.0
_LUMA_WEIGHTS = np.array([[0.299, 0.587, 0.114]], np.float32)


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
    max_soft_part_share: float = field(default=0.35, metadata={"later": True})  # the same of one layer
    edge_window_share: float = 0.01  # sigma of the window that weighs edges, as a share of the long side

    def __post_init__(self) -> None:
        for name in ("min_long_side_px", "min_short_side_px"):
            if getattr(self, name) < 1:
                raise UserError(f"{name}: {getattr(self, name)} is too small; allowed: 1 or more")
        if not 0.0 <= self.max_soft_share <= 1.0:
            raise UserError(f"max_soft_share: {self.max_soft_share} is no share; allowed: 0 to 1 (1 keeps every photo)")
        if not 0.0 <= self.max_soft_part_share <= 1.0:
            raise UserError(f"max_soft_part_share: {self.max_soft_part_share} is no share; allowed: 0 to 1")
        if not 0.001 <= self.edge_window_share <= 0.1:
            raise UserError(f"edge_window_share: {self.edge_window_share}; allowed: 0.001 to 0.1")
        if self.max_aspect_ratio < 1 or self.soft_edge_width_px <= 0 or self.min_contrast_codes <= 0:
            raise UserError("max_aspect_ratio: at least 1; soft_edge_width_px and min_contrast_codes: above 0")


@dataclass(frozen=True, kw_only=True, eq=False)
class SharpnessReport:
    """`score`: the share of soft places (0 sharp all over); maps are `[h,w]`, reduced by `cell_px`."""

    score: float
    passed: bool
    reason: str
    evidence_share: float
    cell_px: int
    edge_width_px: Float32
    evidence: npt.NDArray[np.bool_]

    def soft_share_within(self, mask: npt.NDArray[np.bool_], soft_edge_width_px: float) -> float:
        """The share of soft places within `mask` `[H,W]`; NaN where the mask holds next to no evidence."""
        height, width = self.evidence.shape
        small = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA) > 0.99
        # a sharp outline shines through the window that weighs edges: look beyond it where the part is large enough
        inner = cv2.erode(small.astype(np.uint8), np.ones((5, 5), np.uint8), borderValue=1) > 0
        inside = self.evidence & inner
        if inside.sum() < LEAST_EVIDENCE:
            inside = self.evidence & small
        return (
            float((self.edge_width_px[inside] > soft_edge_width_px).mean())
            if inside.sum() >= LEAST_EVIDENCE
            else float("nan")
        )


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
    window_px = max(3.0, settings.edge_window_share * max(photo_srgb.shape[:2]))
    width_px, contrast, cell_px = _edge_widths(photo_srgb, window_px, settings.min_contrast_codes)
    evidence = contrast > settings.min_contrast_codes
    found = int(evidence.sum())
    score = float((width_px[evidence] > settings.soft_edge_width_px).mean()) if found else 0.0
    passed = score <= settings.max_soft_share
    return SharpnessReport(
        score=score,
        passed=passed,
        reason=f"{score:.0%} of the structured area has edges wider than {settings.soft_edge_width_px:g} px; "
        f"{settings.max_soft_share:.0%} are allowed",
        evidence_share=found / evidence.size,
        cell_px=cell_px,
        edge_width_px=width_px,
        evidence=evidence,
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
    """Soft share of each part `[H,W]` (the subjects, the background); raises `Refused` where one is out of focus.

    A photo may pass as a whole while one of its layers is soft: that is a natural depth of field. Parts without
    structure are left out.
    """
    settings = settings or GateSettings()
    shares = {}
    for name, mask in parts.items():
        share = report.soft_share_within(mask, settings.soft_edge_width_px)
        if np.isfinite(share):
            shares[name] = share
    for name, share in shares.items():
        if share > settings.max_soft_part_share:
            detail = f"{share:.0%} of the structured area of the {name} is out of focus"
            raise Refused("soft", f"{detail}; {settings.max_soft_part_share:.0%} are allowed", stage="matting")
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


def _edge_widths(photo_srgb: Float32, window_px: float, min_contrast_codes: float) -> tuple[Float32, Float32, int]:
    """Edge width in px and contrast in codes on a grid of cells, and the cell's size (module docstring)."""
    luma_codes = cv2.transform(np.ascontiguousarray(photo_srgb, np.float32), _LUMA_WEIGHTS * np.float32(255.0))
    dx = cv2.Sobel(luma_codes, cv2.CV_32F, 1, 0, ksize=1, scale=0.5)
    dy = cv2.Sobel(luma_codes, cv2.CV_32F, 0, 1, ksize=1, scale=0.5)
    cell_px = max(1, int(window_px / 2))
    height, width = luma_codes.shape
    cells = (max(1, width // cell_px), max(1, height // cell_px))
    sigma_cells = float(np.sqrt(max((window_px / cell_px) ** 2 - 1 / 12, 0.1)))  # the cell's own box counts too

    def reduce(plane: Float32) -> Float32:
        return cv2.resize(plane, cells, interpolation=cv2.INTER_AREA)

    def smooth(plane: Float32) -> Float32:
        return cv2.GaussianBlur(plane, (0, 0), sigma_cells, borderType=cv2.BORDER_REFLECT_101)

    coherent = smooth(reduce(dx)) ** 2 + smooth(reduce(dy)) ** 2
    cv2.multiply(dx, dx, dst=dx)
    cv2.multiply(dy, dy, dst=dy)
    energy = reduce(cv2.add(dx, dy, dst=dx))
    contrast = np.asarray(np.sqrt(coherent) * np.float32(window_px * np.sqrt(2 * np.pi)), np.float32)
    total = smooth(energy)
    flat = contrast < min_contrast_codes / 2  # nothing but noise there; a photo without such places shows none
    noise = np.float32(np.percentile(total[flat], _FLAT_PERCENTILE) if flat.mean() > 0.01 else 0.0)
    total = np.maximum(total - noise, np.maximum(coherent, np.float32(1e-9)))
    width_px = np.asarray(coherent / total * np.float32(window_px / np.sqrt(2)), np.float32)
    return width_px, contrast, cell_px
