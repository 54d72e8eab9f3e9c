"""The knobs of matting, as they stand in a recipe's table `[matting]`."""

from __future__ import annotations

from dataclasses import dataclass, field

from mattingmfif.errors import UserError

SEGMENTERS = ("auto", "given", "rembg", "classical")
PLATE_FILLS = ("push-pull", "ns")


@dataclass(frozen=True, kw_only=True)
class MattingSettings:
    """How subjects are found and cut out. Lengths in px are meant at a long side of 3840 and scale with the photo."""

    segmenter: str = "auto"  # auto: given mattes, else a rembg model on disk, else classical
    rembg_model: str = ""  # name of an allow-listed model; empty: the first one whose weights are on disk
    max_subjects: int = 3  # layers cut out of one photo, at most 6
    segment_long_side_px: int = 512  # size at which the classical path looks for subjects
    solve_long_side_px: int = 960  # the matting Laplacian is solved exactly at about this size, then refined
    full_solve_long_side_px: int = 2000  # up to this size a narrow band is solved exactly at full resolution
    band_inner_px: float = 16.0  # trimap: unknown this far into a mask
    band_outer_px: float = 32.0  # trimap: unknown this far out of a mask
    grow_rounds: int = 2  # times the band grows where alpha is not settled at its border
    tail: float = 0.02  # alpha below this becomes 0 and above 1 - this becomes 1
    plate_fill: str = "push-pull"  # push-pull, or ns: Navier-Stokes inpainting near the subject
    plate_grain: bool = True  # put grain like the photo's over invented pixels
    min_area_share: float = 0.01  # a subject covers at least this share of the photo
    max_area_share: float = 0.6  # and at most this
    min_contour_score: float = 0.7  # share of the contour that lies on image edges
    min_separation: float = 0.45  # share of the contour where the sides differ beyond their own texture
    max_transparent_share: float = 0.7  # share of a found subject's pixels that came out half transparent
    max_residual_codes: float = 1.0  # mean |reassembly - photo| in the band, in sRGB codes of 255
    # keys that came after the first recipes were published
    rembg_sha256: str = field(default="", metadata={"later": True})  # of the weights; empty: whatever lies there
    max_band_px: float = field(default=80.0, metadata={"later": True})  # width of a found subject's soft outline
    max_plate_ghost: float = field(default=0.5, metadata={"later": True})  # share of the plate that repeats the subject
    max_unexplained: float = field(default=0.04, metadata={"later": True})  # neither subject, background nor mixture
    max_clipped_share: float = field(default=0.5, metadata={"later": True})  # of a found subject, at white: glare

    def __post_init__(self) -> None:
        _member("segmenter", self.segmenter, SEGMENTERS)
        _member("plate_fill", self.plate_fill, PLATE_FILLS)
        _range("max_subjects", self.max_subjects, 1, 6)
        _range("segment_long_side_px", self.segment_long_side_px, 128, 2048)
        _range("solve_long_side_px", self.solve_long_side_px, 128, 4096)
        _range("full_solve_long_side_px", self.full_solve_long_side_px, 0, 16384)
        _range("band_inner_px", self.band_inner_px, 1, 400)
        _range("band_outer_px", self.band_outer_px, 1, 400)
        _range("grow_rounds", self.grow_rounds, 0, 8)
        _range("tail", self.tail, 0.0, 0.2)
        for name in (
            "min_area_share",
            "max_area_share",
            "min_contour_score",
            "min_separation",
            "max_transparent_share",
            "max_plate_ghost",
            "max_unexplained",
            "max_clipped_share",
        ):
            _range(name, getattr(self, name), 0.0, 1.0)
        _range("max_band_px", self.max_band_px, 1.0, 4000.0)
        _range("max_residual_codes", self.max_residual_codes, 0.0, 255.0)


def _member(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UserError(f"{name}: {value!r} is unknown; allowed: {', '.join(allowed)}")


def _range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise UserError(f"{name}: {value} is out of range; allowed: {low:g} to {high:g}")
