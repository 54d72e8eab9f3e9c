"""How well the gates tell good photographs and mattes from bad ones: precision and recall, with the thresholds in use.

    python tests/benchmarks/bench_gates.py --photos DIR ... --mattes DIR [--long-side 1600]

*Focus.* Sharp photographs are blurred in part with the package's own lens kernel: everything, all but the found
subjects, the subjects alone, or the upper half, by several radii, or by a radius that grows across the picture, with a
round and a six-bladed aperture; the gate has to refuse these, and none of the originals, nor those with grain or saved
as a poor JPEG. `--soft NAME ...` names photographs that are themselves out of focus in part, to be refused as well.

*Mattes.* DIR holds *_image.png and *_alpha.png, exact by construction. Exact mattes are good, and so are masks from
which matting finds the same; moved, blurred, grown, shrunk mattes, those of another picture, and masks that are boxes,
blobs or moved farther than the trimap's band are bad. They are judged as if they had been found, not given. In
precision and recall "positive" is what the gate refuses.

*Grain.* Photographs with grain added have to be measured as grainy as they are; nothing is refused by mistake.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from threadpoolctl import threadpool_limits

from mattingmfif.errors import Refused
from mattingmfif.matting import MattingSettings, Subjects, estimate_layers, find_subjects
from mattingmfif.matting.classical import iou, largest_parts, refine_by_colour
from mattingmfif.matting.contours import contour_score, lab_of, pair_contrast, side_separation
from mattingmfif.matting.subjects import reduced_photo
from mattingmfif.optics import Aperture, ThinLens
from mattingmfif.optics.psf import psf
from mattingmfif.photo.gates import BACKGROUND, GateSettings, check_parts, check_sharpness, clean_grain
from mattingmfif.photo.images import open_photo
from mattingmfif.pixels.colour import decode_srgb, linear_to_srgb, srgb_to_linear
from mattingmfif.pixels.fill import push_pull
from mattingmfif.pixels.grain import grain_sigma

RADII_PX = (3.0, 5.0, 10.0)
LENS = ThinLens(50.0, 2.0, 36.0, Aperture())
SIX_BLADES = ThinLens(50.0, 2.0, 36.0, Aperture(blades=6))
SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".webp")


@dataclass
class Table:
    """Verdicts of one gate by kind of input."""

    title: str
    rows: dict[str, list[bool]]
    wrong: list[str] = field(default_factory=list)

    def add(self, kind: str, refused: bool, name: str = "", good: bool = False) -> None:
        """Note a verdict, and the name of what is judged where it is wrong."""
        self.rows.setdefault(kind, []).append(refused)
        if name and refused == good:
            self.wrong.append(f"{name} ({kind})")

    def show(self, good: str) -> None:
        """Print the table, precision and recall; `good` names the kinds that are to be kept."""
        print(f"\n{self.title}")
        hit = missed = false = kept = 0
        for kind, verdicts in self.rows.items():
            refused = sum(verdicts)
            print(f"  {kind:<44}{refused:4d} of {len(verdicts):3d} refused")
            if kind.startswith(good):
                false, kept = false + refused, kept + len(verdicts) - refused
            else:
                hit, missed = hit + refused, missed + len(verdicts) - refused
        precision, recall = hit / max(hit + false, 1), hit / max(hit + missed, 1)
        counts = f"{hit} bad refused, {missed} bad kept, {false} good refused"
        print(f"  precision {precision:.2f}, recall {recall:.2f} ({counts})")
        if self.wrong:
            print("  wrong: " + "; ".join(self.wrong))


def blurred(linear: np.ndarray, radius_px: float, lens: ThinLens = LENS) -> np.ndarray:
    """The photograph out of focus by a disc of that radius."""
    return cv2.filter2D(linear, -1, np.ascontiguousarray(psf(lens, radius_px)), borderType=cv2.BORDER_REPLICATE)


def tilted(linear: np.ndarray, largest_px: float) -> np.ndarray:
    """The photograph out of focus by 0 on its left side, growing evenly to `largest_px` on its right."""
    levels = [level for level in (0.0, 1.0, 2.0, 3.0, 5.0, 7.0, 10.0) if level <= largest_px]
    radius = np.linspace(0, largest_px, linear.shape[1], dtype=np.float32)[None, :, None]
    out = linear.copy()
    for low, high in itertools.pairwise(levels):
        share = np.clip((radius - low) / (high - low), 0, 1)
        near = linear if low == 0 else blurred(linear, low)
        out = np.where(radius > low, near * (1 - share) + blurred(linear, high) * share, out)
    return out


def as_jpeg(linear: np.ndarray, quality: int) -> np.ndarray:
    """The photograph saved as a JPEG and read again."""
    codes = np.round(linear_to_srgb(linear) * 255).astype(np.uint8)
    _, saved = cv2.imencode(".jpg", codes[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return decode_srgb(np.ascontiguousarray(cv2.imdecode(saved, cv2.IMREAD_COLOR)[..., ::-1]))


def grainy(linear: np.ndarray, sigma_codes: float) -> np.ndarray:
    """The photograph with grain of that standard deviation, in codes of 255."""
    noise = np.random.default_rng(1).standard_normal(linear.shape).astype(np.float32)
    return srgb_to_linear(np.clip(linear_to_srgb(linear) + noise * np.float32(sigma_codes / 255), 0, 1))


def focus_cases(linear: np.ndarray, masks: list[np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """(kind, photograph) for the ways in which depth of field spoils a photograph."""
    yield "sharp", linear
    yield "sharp, grain of 4 codes", grainy(linear, 4)
    yield "sharp, JPEG quality 50", as_jpeg(linear, 50)
    subject = np.logical_or.reduce(masks) if masks else None
    upper = np.arange(linear.shape[0])[:, None] < linear.shape[0] // 2
    for radius in RADII_PX:
        soft = blurred(linear, radius)
        yield f"all, radius {radius:g} px", soft
        yield f"all, radius {radius:g} px, six blades", blurred(linear, radius, SIX_BLADES)
        yield f"all, radius {radius:g} px, grain of 2 codes", grainy(soft, 2)
        yield f"upper half, radius {radius:g} px", np.where(upper[..., None], soft, linear)
        if subject is not None:
            yield f"background, radius {radius:g} px", np.where(subject[..., None], linear, soft)
            plate = push_pull(linear, (~subject).astype(np.float32))
            cover = blurred(subject.astype(np.float32), radius)[..., None]
            front = blurred(linear * subject[..., None], radius)
            yield f"subjects, radius {radius:g} px", front + plate * (1 - cover)
    for largest in (5.0, 10.0):
        yield f"left to right, radius 0 to {largest:g} px", tilted(linear, largest)


def focus_is_refused(linear: np.ndarray, masks: list[np.ndarray]) -> bool:
    """Whether the gates of focus refuse it, given where the subjects are."""
    try:
        report = check_sharpness(linear_to_srgb(linear), GateSettings())
        parts = {f"subject_{k}": mask for k, mask in enumerate(masks)}
        if masks:
            parts[BACKGROUND] = ~np.logical_or.reduce(masks)
        check_parts(report, parts)
    except Refused:
        return True
    return False


def judge_focus(folders: list[Path], soft: list[str], long_side: int) -> None:
    """The table of the focus gates."""
    table = Table("Focus", {})
    for file in sorted(file for folder in folders for file in folder.iterdir() if file.suffix.lower() in SUFFIXES):
        try:
            linear = open_photo(file.parent, file.name, used_long_side_px=long_side).reduced(long_side)
        except Refused as refused:
            print(f"{file.name}: left out: {refused}")
            continue
        try:
            found = find_subjects(linear_to_srgb(linear), MattingSettings(segmenter="classical"))
            masks = [np.asarray(mask) > 0.5 for mask in found.masks]
        except Refused:
            masks = []
        if file.stem in soft:
            table.add("shot with a shallow depth of field", focus_is_refused(linear, masks), file.stem)
            continue
        for kind, photo in focus_cases(linear, masks):
            table.add(kind, focus_is_refused(photo, masks), file.stem, kind.startswith("sharp"))
    table.show("sharp")


def matte_cases(alpha: np.ndarray, other: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """(kind, matte or hard mask) for the ways in which one is wrong; lengths are for a long side of 3840 px."""
    unit = max(alpha.shape) / 3840
    mask = alpha > 0.5

    def moved(plane: np.ndarray, shift: float) -> np.ndarray:
        move = np.array([[1, 0, shift * unit], [0, 1, 0.6 * shift * unit]], np.float32)
        return cv2.warpAffine(plane, move, plane.shape[::-1])

    def disc(reach: float) -> np.ndarray:
        return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * round(reach * unit) + 1,) * 2)

    yield "exact", alpha
    yield "exact, as a mask", mask
    for shift in (3, 6):
        yield f"exact, as a mask moved by {shift} px", moved(mask.astype(np.uint8), shift) > 0
    for shift in (6, 12, 25, 40, 100, 250):
        yield f"moved by {shift} px", moved(alpha, shift)
    for shift in (60, 100, 250):
        yield f"mask moved by {shift} px", moved(mask.astype(np.uint8), shift) > 0
    for sigma in (30, 80):
        yield f"blurred, sigma {sigma} px", cv2.GaussianBlur(alpha, (0, 0), sigma * unit)
    for reach in (60, 150):
        yield f"grown by {reach} px", cv2.dilate(alpha, disc(reach))
        yield f"shrunk by {reach} px", cv2.erode(alpha, disc(reach))
        yield f"mask grown by {reach} px", cv2.dilate(mask.astype(np.uint8), disc(reach)) > 0
        yield f"mask shrunk by {reach} px", cv2.erode(mask.astype(np.uint8), disc(reach)) > 0
    yield "of another picture", cv2.resize(other, alpha.shape[::-1], interpolation=cv2.INTER_AREA)
    rows, columns = np.nonzero(mask)
    box = np.zeros(mask.shape, bool)
    box[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
    yield "mask, its bounding box", box
    for seed in range(3):
        height, width = mask.shape
        rng = np.random.default_rng(seed)
        field = cv2.GaussianBlur(rng.standard_normal(mask.shape).astype(np.float32), (0, 0), max(mask.shape) / 16)
        inner = np.zeros(mask.shape, bool)
        inner[height // 8 : -height // 8, width // 8 : -width // 8] = True
        blob = inner & (field > np.quantile(field, 0.8))
        yield f"mask, blob {seed}", largest_parts(blob, 1.0)


def matte_is_refused(linear: np.ndarray, matte: np.ndarray) -> bool:
    """Whether the gates of found subjects refuse a matte, or a mask with what matting makes of it."""
    settings = MattingSettings()
    small = reduced_photo(linear_to_srgb(linear), settings.segment_long_side_px)
    size = (small.shape[1], small.shape[0])
    mask = cv2.resize(matte.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.5
    lab = lab_of(small)
    scores = {
        "contour": contour_score(mask, pair_contrast(lab)),
        "separation": side_separation(mask, lab),
        "agreement": iou(refine_by_colour(small, mask), mask),
    }
    if scores["contour"] < settings.min_contour_score or scores["separation"] < settings.min_separation:
        return True
    if scores["agreement"] < 0.5 or not settings.min_area_share <= mask.mean() <= settings.max_area_share:
        return True
    subjects = Subjects(masks=[matte], segmenter="found", why="", scores=[scores], are_alphas=matte.dtype != bool)
    try:
        estimate_layers(linear, subjects, settings)
    except Refused:
        return True
    return False


def judge_mattes(folder: Path) -> None:
    """The table of the matte gates."""
    pairs = []
    for file in sorted(folder.glob("*_image.png")):
        alpha = cv2.imread(str(file).replace("_image", "_alpha"), cv2.IMREAD_UNCHANGED)
        alpha = (alpha[..., 0] if alpha.ndim == 3 else alpha).astype(np.float32) / np.iinfo(alpha.dtype).max
        pairs.append((decode_srgb(np.ascontiguousarray(cv2.imread(str(file))[..., ::-1])), alpha))
    table = Table("Mattes", {})
    for k, (linear, alpha) in enumerate(pairs):
        for kind, matte in matte_cases(alpha, pairs[(k + 1) % len(pairs)][1]):
            table.add(kind, matte_is_refused(linear, matte), f"matte {k}", kind.startswith("exact"))
    table.show("exact")


def judge_grain(folders: list[Path], long_side: int) -> None:
    """What the grain gate measures and refuses once grain is added, and once that is smoothed away again."""
    print("\nGrain, sigma in codes: added, measured (least, median, most), refused, measured once it is smoothed")
    photos = []
    for file in sorted(file for folder in folders for file in folder.iterdir() if file.suffix.lower() in SUFFIXES):
        try:
            photos.append(open_photo(file.parent, file.name, used_long_side_px=long_side).reduced(long_side))
        except Refused as refused:
            print(f"{file.name}: left out: {refused}")
    for added in (0, 2, 4, 8, 12, 16, 20):
        measured, after, refusals = [], [], 0
        for linear in photos:
            photo = linear_to_srgb(grainy(linear, added) if added else linear)
            try:
                measured.append(clean_grain(photo)[1])
            except Refused:
                refusals += 1
                measured.append(grain_sigma(photo))
            codes = np.round(photo * 255).astype(np.uint8)
            smooth = cv2.bilateralFilter(codes, 7, 3.0 * max(added, 1), 2.0).astype(np.float32) / 255
            after.append(grain_sigma(smooth))
        figures = ", ".join(f"{np.quantile(measured, q):.1f}" for q in (0, 0.5, 1))
        print(f"  {added:3d}: {figures}; {refusals} of {len(photos)}; {np.median(after):.1f}")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, nargs="*", default=[])
    parser.add_argument("--mattes", type=Path)
    parser.add_argument("--grain", action="store_true", help="the grain gate on --photos, instead of the focus gates")
    parser.add_argument("--soft", nargs="*", default=[])
    parser.add_argument("--long-side", type=int, default=1600)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    with threadpool_limits(1):
        if options.photos and options.grain:
            judge_grain(options.photos, options.long_side)
        elif options.photos:
            judge_focus(options.photos, options.soft, options.long_side)
        if options.mattes:
            judge_mattes(options.mattes)


if __name__ == "__main__":
    main()
