"""What, apart from focus, tells which frame of a sample is sharp where: eight figures, each with its threshold.

A network learns whatever separates sharp from blurred pixels. Eight things must not:

noise         where a frame is sharp it carries as much noise as where it is blurred, and as the other frames
grid          no JPEG grid that sharp pixels have and blurred ones have not, or one frame and the others not
resampling    the same of the periodic traces that enlarging, reducing or turning a picture leaves
borders       no frame is darker, brighter, black or saturated along a side where the target is not
equal-frames  two frames never hold the same codes where the record says that their blur differs
tone          in pixels that are sharp no frame is brighter or of another colour than the others
position      nor shifted against them
marks         nor holds single codes there that the lens did not make, or pixels that stand out where all is blurred

What is *sharp* (|radius| up to 0.5 px) and *blurred* (3 px or more) comes from the sample's record, away from matte
edges. A trace of the source that sharp pixels keep and blur removes counts as much as one added to a frame afterwards;
the second kind is measured against the target and found at smaller amounts.

Equality. Two frames share code values legitimately where both show the target (every visible radius under 0.25 px in
both), where the two radii are alike, and where the picture has no structure that blur could change. So a tile of 16 px
counts only if all its codes are equal although the radii differ by 0.25 px or more, the larger one reaches 0.5 px, and
that difference of blur would change the codes by at least one on average, (r1^2 - r2^2) / 8 times the Laplacian.
Equality with the *target* is no leak: a fuser never sees the target.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from mattingmfif.dataset.agreement import TARGET, agreement, marks_apart, positions_apart, tones_apart
from mattingmfif.dataset.physics import layer_radii_px, sharp_pixels
from mattingmfif.dataset.reader import Sample
from mattingmfif.dataset.sample import ALPHA_COLUMNS, FRAME_COLUMNS
from mattingmfif.optics.lens import INVISIBLE_RADIUS_PX
from mattingmfif.pixels.colour import luminance, srgb_to_linear
from mattingmfif.pixels.traces import TILE_PX, grid_strength, periodicity, tile_means, tile_noise

Float32 = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

CHECKS = ("noise", "grid", "resampling", "borders", "equal-frames", "tone", "position", "marks")
SHARP_PX, BLURRED_PX = 0.5, 3.0
#: allowed differences: noise in codes of 255, the others as the measures of `pixels.traces` count
NOISE_CODES = 1.0
SOURCE_GRAIN_CODES = 1.5  # the amount from which recipes denoise a photograph before use
GRID_SHARE, ADDED_GRID_SHARE = 0.2, 0.06
RESAMPLING_SHARE, ADDED_RESAMPLING_SHARE = 0.15, 0.04
BORDER_SHARE, BORDER_LINE_CODES = 0.25, 4.0
EQUAL_TILES = 2
LEAST_TILES = 12
_SEGMENTS, _LEAST_SEGMENTS = 12, 3


@dataclass(frozen=True, kw_only=True)
class Figure:
    """What a check measured on one sample: the figure that the threshold is for, and the leaks, if any."""

    value: float
    details: tuple[str, ...]


def measure(sample: Sample) -> dict[str, Figure]:
    """The figures of all checks that this sample has enough pixels for."""
    view = _View(sample)
    checks = (
        ("noise", _noise),
        ("grid", _grid),
        ("resampling", _resampling),
        ("borders", _borders),
        ("equal-frames", _equal),
    )
    found = {name: figure for name, check in checks if (figure := check(view)) is not None}
    return found | _agreement(view)


class _View:
    """A sample as the checks look at it: codes of 255 and radii, one frame at a time."""

    def __init__(self, sample: Sample) -> None:
        self.sample = sample
        self.count = sample.n_frames
        self.target = _green(sample.target)
        self.inside = ~sample.boundary
        self.radii = [np.abs(sample.blur_radius_px(k)).astype(np.float16) for k in range(self.count)]

    def frame(self, k: int) -> Float32:
        return _green(self.codes(k))

    def codes(self, k: int) -> npt.NDArray[Any]:
        codes = self.sample.image(FRAME_COLUMNS[k])
        return self.sample.frames[k] if codes is None else codes  # stored as layers: photographed when asked for

    def masks(self, k: int) -> tuple[Mask, Mask]:
        """(sharp, blurred) pixels of frame k, away from matte edges."""
        return (self.radii[k] <= SHARP_PX) & self.inside, (self.radii[k] >= BLURRED_PX) & self.inside


def _agreement(view: _View) -> dict[str, Figure]:
    """The checks of `dataset.agreement`: what a frame has of its own where it shows the target."""
    sample, target = view.sample, view.sample.target
    ideal = sample.camera.is_ideal
    mattes = [code for code in (sample.image(name) for name in ALPHA_COLUMNS) if code is not None]
    largest_px = np.abs(layer_radii_px(sample)).max(axis=2)
    frames = [TARGET] if ideal else []
    for k in range(view.count):
        blurred = view.masks(k)[1]
        if sample.camera.draws.get("highlights"):  # the discs of lights raised so far overlap in single bright pixels
            blurred = np.zeros_like(blurred)
        if ideal:  # no light of anything blurred: it lifts the codes of what is dark beside what is bright
            sharp = sharp_pixels(sample.size, mattes, largest_px[k])
        else:  # and baked noise makes pixels stand out everywhere
            sharp, blurred = (view.radii[k] < INVISIBLE_RADIUS_PX) & view.inside, np.zeros_like(blurred)
        # a cat's eye has its middle off the pixel's: no place can be told where it is seen at all
        nearly = sharp if sample.camera.aperture.get("cats_eye") else (view.radii[k] <= SHARP_PX) & view.inside
        frames.append(agreement(k, view.codes(k), target, sharp, nearly, blurred, must_equal=ideal))
    found = {"marks": marks_apart(frames)}
    if ideal:  # noise that is cut off at black, and axial colour, have tones of their own
        found["tone"] = tones_apart(frames)
    if not sample.camera.lens_options:  # breathing is a change of scale
        found["position"] = positions_apart(frames)
    return {
        name: Figure(value=pair[0], details=(pair[1],) if pair[1] else ())
        for name in ("tone", "position", "marks")
        if (pair := found.get(name)) is not None
    }


def _scaled(codes: npt.NDArray[Any]) -> Float32:
    return codes.astype(np.float32) * np.float32(255 / np.iinfo(codes.dtype).max)


def _green(codes: npt.NDArray[Any]) -> Float32:
    return _scaled(np.ascontiguousarray(codes[..., 1]))


def _noise(view: _View) -> Figure | None:
    """Noise of two frames at the same places: beyond the target's where sharp, all there is where blurred."""
    smooth = cv2.GaussianBlur(view.target, (0, 0), 2.0)
    mean = tile_means(smooth)
    even = (tile_means(smooth * smooth) - mean * mean < 4.0) & (mean > 8) & (mean < 247)
    of_target = tile_noise(view.target)
    states: list[tuple[str, Mask, Float32]] = []  # what is said of it, the tiles, the variance of their noise
    for k in range(view.count):
        variance = tile_noise(view.frame(k)) ** 2
        sharp, blurred = (tile_means(mask) > 0.5 for mask in view.masks(k))
        states.append((f"frame {k} where it is sharp", sharp, variance - of_target**2))
        states.append((f"frame {k} where it is blurred", blurred & even, variance))
    apart = _noise_apart(states)
    if not apart and not view.sample.camera.sensor:  # texture everywhere: what the record says has to do
        recorded = ("the record of the sample", np.ones(even.shape, bool), np.zeros(even.shape, np.float32))
        apart = _noise_apart([recorded, *(state for state in states if "sharp" in state[0])])
    if not apart:
        return None
    worst, words = max(apart)
    details = [f"{words}; {NOISE_CODES:g} are allowed apart"] if worst > NOISE_CODES else []
    kept = _kept_grain(of_target, even, states)
    if kept > SOURCE_GRAIN_CODES:
        details.append(
            f"sharp pixels keep {kept:.2f} codes of grain that blurred ones have not; "
            f"{SOURCE_GRAIN_CODES:g} are allowed"
        )
    return Figure(value=max(worst, kept * NOISE_CODES / SOURCE_GRAIN_CODES), details=tuple(details))


def _noise_apart(states: list[tuple[str, Mask, Float32]]) -> list[tuple[float, str]]:
    """(difference in codes, words) of every two states that share enough tiles."""
    found = []
    for first, (words, tiles, variance) in enumerate(states):
        for other_words, other_tiles, other in states[first + 1 :]:
            here = tiles & other_tiles
            if here.sum() < LEAST_TILES:
                continue
            # blurred places are compared by their smoothest quarter: elsewhere texture may be left
            one, two = (
                float(np.sqrt(max(0.0, float(np.percentile(v[here], 25 if "blurred" in w else 50)))))
                for w, v in ((words, variance), (other_words, other))
            )
            found.append((abs(two - one), f"{one:.2f} codes of noise in {words}, {two:.2f} in {other_words}"))
    return found


def _kept_grain(of_target: Float32, even: Mask, states: list[tuple[str, Mask, Float32]]) -> float:
    """The source's grain, in codes, in places that are sharp in one frame, beyond what blurred places show."""
    sharp = np.logical_or.reduce([tiles for words, tiles, _ in states if "sharp" in words]) & even
    blurred = [
        float(np.sqrt(max(0.0, float(np.percentile(variance[tiles], 10)))))
        for words, tiles, variance in states
        if "blurred" in words and tiles.sum() >= LEAST_TILES
    ]
    if sharp.sum() < LEAST_TILES or not blurred:
        return 0.0
    return max(0.0, float(np.percentile(of_target[sharp], 10)) - min(blurred))


def _grid(view: _View) -> Figure | None:
    groups: list[tuple[float, str]] = []
    added: list[tuple[float, str]] = []
    for k in range(view.count):
        frame = view.frame(k)
        sharp, blurred = view.masks(k)
        for mask, words in ((sharp, "sharp"), (blurred, "blurred")):
            strength = grid_strength(frame, mask)
            if np.isfinite(strength):
                groups.append((strength, f"frame {k} where it is {words}"))
                if words == "sharp":
                    added.append((strength - grid_strength(view.target, mask), f"frame {k}"))
    if len(groups) < 2:
        return None
    return _apart(groups, added, "a JPEG grid", GRID_SHARE, ADDED_GRID_SHARE)


def _resampling(view: _View) -> Figure | None:
    groups: list[tuple[float, str]] = []
    added: list[tuple[float, str]] = []
    for k in range(view.count):
        frame = view.frame(k)
        sharp, blurred = view.masks(k)
        nearly = (view.radii[k] < BLURRED_PX) & view.inside
        of_sharp, of_blurred = periodicity(frame, sharp), periodicity(frame, blurred)
        for found, words in ((of_sharp, "sharp"), (of_blurred, "blurred")):
            if found is not None:
                best, period = _strongest(*found)
                groups.append((best, f"frame {k} where it is {words} (period {period:.2f} px)"))
        of_nearly, of_target = periodicity(frame, nearly), periodicity(view.target, nearly)
        if of_nearly is not None and of_target is not None:
            best, period = _strongest(of_nearly[0], of_nearly[1] - of_target[1])
            added.append((best, f"frame {k} (period {period:.2f} px)"))
    if len(groups) < 2:
        return None
    return _apart(groups, added, "a periodic trace of resampling", RESAMPLING_SHARE, ADDED_RESAMPLING_SHARE)


def _strongest(frequency: Float32, amplitude: Float32) -> tuple[float, float]:
    """(amplitude above what noise of this spectrum reaches, period in px)."""
    best = int(np.argmax(amplitude))
    noise = float(np.median(np.abs(amplitude[np.abs(amplitude) > 0]))) if np.any(amplitude) else 0.0
    return max(0.0, float(amplitude[best]) - 6 * noise), float(1 / max(frequency[best], 1e-6))


def _apart(
    groups: list[tuple[float, str]], added: list[tuple[float, str]], what: str, allowed: float, allowed_added: float
) -> Figure:
    """The figure of a trace that is stronger in one group of pixels than in another, or in one frame than in others."""
    (low, low_place), (high, high_place) = min(groups), max(groups)
    details = []
    if high - low > allowed:
        details.append(f"{what} of {high:.3f} in {high_place}, {low:.3f} in {low_place}; {allowed:g} is allowed apart")
    if len(added) > 1 and max(added)[0] - min(added)[0] > allowed_added:
        details.append(
            f"{what} of {max(added)[0]:.3f} beyond the target's in {max(added)[1]}, {min(added)[0]:.3f} in "
            f"{min(added)[1]}; {allowed_added:g} is allowed apart"
        )
    return Figure(value=high - low, details=tuple(details))


def _borders(view: _View) -> Figure:
    """How far a frame's outermost pixels leave the range of the target's near them, as a share, on each side."""
    worst, details = 0.0, []
    reach = int(np.ceil(2 * float(np.abs(layer_radii_px(view.sample)).max()))) + 2
    target = [_side_rows(view.sample.target, side, reach) for side in range(4)]
    for k in range(view.count):
        codes = view.codes(k)
        for side, name in enumerate(("top", "bottom", "left", "right")):
            low, high = target[side].min(axis=0), target[side].max(axis=0)
            # blur also moves light along the side
            low = np.minimum.reduce([low, np.r_[low[:1], low[:-1]], np.r_[low[1:], low[-1:]]])
            high = np.maximum.reduce([high, np.r_[high[:1], high[:-1]], np.r_[high[1:], high[-1:]]])
            found = _side_rows(codes, side, 1)[0]
            away = np.maximum((low - found - 0.004) / np.maximum(low, 1e-3), (found - high - 0.004) / (high + 1e-3))
            share = float(np.sort(away)[-_LEAST_SEGMENTS])
            worst = max(worst, share)
            if share > BORDER_SHARE:
                darker = "darker" if found.mean() < target[side].mean() else "brighter"
                details.append(
                    f"frame {k} is {share:.0%} {darker} along its {name} side than the target near it; "
                    f"{BORDER_SHARE:.0%} is allowed"
                )
            (line, _), (of_target, texture) = (_outer_line(picture, side) for picture in (codes, view.sample.target))
            line -= max(0.0, of_target) + 0.3 * texture  # the outermost pixels go on outside: blur shows them longer
            worst = max(worst, line * BORDER_SHARE / BORDER_LINE_CODES)
            if line > BORDER_LINE_CODES:
                details.append(
                    f"the outermost line of frame {k} along its {name} side stands out by {line:.1f} codes; "
                    f"{BORDER_LINE_CODES:g} are allowed"
                )
    return Figure(value=worst, details=tuple(details))


def _outer_line(codes: npt.NDArray[Any], side: int) -> tuple[float, float]:
    """By how many codes the outermost line differs from the next one beyond what that does from the third; and that."""
    turned = codes if side < 2 else codes.swapaxes(0, 1)
    first, second, third = _scaled((turned if side % 2 == 0 else turned[::-1])[:3])
    inner = float(np.abs(second - third).mean())
    return float(np.abs(first - second).mean()) - inner, inner


def _side_rows(codes: npt.NDArray[Any], side: int, depth: int) -> Float32:
    """Mean luminance `[depth, segments]` of the lines along a side (0 top, 1 bottom, 2 left, 3 right), outer first."""
    turned = codes if side < 2 else codes.swapaxes(0, 1)
    lines = turned[:depth] if side % 2 == 0 else turned[::-1][:depth]
    light = luminance(srgb_to_linear(_scaled(lines) / np.float32(255)))
    return np.stack([part.mean(axis=1) for part in np.array_split(light, _SEGMENTS, axis=1)], axis=1)


def _equal(view: _View) -> Figure | None:
    """Tiles in which two frames hold the same codes although their blur differs."""
    frames = [view.codes(k) for k in range(view.count)]
    radii = [tile_means(radius) for radius in view.radii]
    inside = tile_means(view.inside) > 0.999
    worst, details, judged = 0, [], False
    for first in range(view.count):
        bend = _bend(_scaled(frames[first]).mean(axis=2))
        for second in range(view.count):
            if second == first:
                continue
            a, b = radii[first], radii[second]
            change = np.abs(a * a - b * b) / 8 * bend
            must_differ = (np.abs(a - b) >= 0.25) & (np.maximum(a, b) >= SHARP_PX) & (change >= 1.0) & inside
            judged |= bool(must_differ.any())
            if second < first or not must_differ.any():
                continue
            same = tile_means((frames[first] == frames[second]).all(axis=2)) == 1
            tiles = int((same & must_differ).sum())
            worst = max(worst, tiles)
            if tiles >= EQUAL_TILES:
                details.append(
                    f"frames {first} and {second} are equal in {tiles} tiles of {TILE_PX} px of "
                    f"{int(must_differ.sum())} in which their blur differs; {EQUAL_TILES - 1} are allowed"
                )
    return Figure(value=float(worst), details=tuple(details)) if judged else None


def _bend(grey: Float32) -> Float32:
    """The mean |Laplacian| by tile, codes per px^2, beyond what rounding can make; the larger of two scales."""
    found = [
        tile_means(np.abs(cv2.Laplacian(cv2.GaussianBlur(grey, (0, 0), sigma), cv2.CV_32F))) - rounding
        for sigma, rounding in ((0.7, 0.5), (2.0, 0.12))
    ]
    return np.asarray(np.maximum(np.maximum(*found), 0), np.float32)
