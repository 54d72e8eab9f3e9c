"""Where to focus: plans of focus distances over a scene.

Notation. d = 1 / z is inverse distance in dioptres; blur is proportional to differences of d, so plans are made there.
A frame focused at d keeps everything within +-h of it sharp, h = SHARP_RADIUS_PX / (px of blur per dioptre).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from mattingmfif.errors import UserError
from mattingmfif.optics.lens import ThinLens

#: a pixel counts as sharp up to this blur radius
SHARP_RADIUS_PX = 0.5
PLAN_KINDS = ("tile", "layers", "random", "gap")
FEWEST_FRAMES, MOST_FRAMES = 2, 7

Span = tuple[float, float]


def plan_focus(
    kind: str,
    distances_m: Sequence[float | tuple[float, float]],
    lens: ThinLens,
    image_width_px: float,
    n_frames: int,
    rng: np.random.Generator,
) -> list[float]:
    """Focus distances in metres, nearest first, at most `n_frames` (2 to 7) of them, all beyond the focal length.

    `distances_m` lists the scene's layers: a distance, or (near, far) for one that recedes; infinity is welcome.
    Kinds: "tile", the frames' depths of field cover the scene, with as few frames as needed, or with even spacing and
    the smallest possible largest blur when `n_frames` do not suffice; "layers", one frame a layer, each at the middle
    of its depth; "random", drawn evenly in inverse distance between the nearest and the farthest; "gap", as "tile"
    but with one layer, or a third of the depth, left sharp in no frame on purpose.
    """
    if kind not in PLAN_KINDS:
        raise UserError(f"focus plan: {kind!r}; allowed: {', '.join(PLAN_KINDS)}")
    if not FEWEST_FRAMES <= n_frames <= MOST_FRAMES:
        raise UserError(f"n_frames: {n_frames}; allowed: {FEWEST_FRAMES} to {MOST_FRAMES}")
    spans = sorted({_span(d) for d in distances_m}, reverse=True)
    if not spans:
        raise UserError("distances_m: no layer to focus on; allowed: at least one distance")
    near_limit = 1000.0 / lens.focal_length_mm
    # the radius grows by s / (s - f) when focusing near: the nearest focus gives the smallest depth of field
    nearest = min(max(high for _, high in spans), 0.98 * near_limit)
    half = SHARP_RADIUS_PX / lens.blur_per_dioptre_px(1.0 / nearest if nearest > 0 else math.inf, image_width_px)
    if kind == "layers":
        points = _thinned(sorted({0.5 * (low + high) for low, high in spans}, reverse=True), n_frames)
    elif kind == "random":
        low, high = min(s[0] for s in spans), max(s[1] for s in spans)
        points = sorted((float(p) for p in rng.uniform(low, high, n_frames)), reverse=True)
    else:
        covered = _with_gap(spans, half, rng) if kind == "gap" else spans
        points = _tiles(covered, half, n_frames)
    if len(set(points)) < FEWEST_FRAMES:
        points = _spread(points[0], half, near_limit)
    distances = [math.inf if p <= 0.0 else 1.0 / min(p, 0.98 * near_limit) for p in points]
    return sorted({lens.check_focus(s) for s in distances})


def _span(distance: float | tuple[float, float]) -> Span:
    near, far = (distance, distance) if isinstance(distance, (int, float)) else distance
    if not 0 < near <= far:
        raise UserError(f"distances_m: {distance}; allowed: above 0, nearer before farther")
    return (1.0 / far, 1.0 / near)


def _tiles(spans: Sequence[Span], half: float, most: int) -> list[float]:
    """Points whose +-half cover all spans; when more than `most` were needed, the smallest half that does with them."""
    points = _cover(spans, half)
    if len(points) <= most:
        return points
    low, high = half, max(s[1] for s in spans) - min(s[0] for s in spans)
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if len(_cover(spans, middle)) <= most else (middle, high)
    return _cover(spans, high)


def _cover(spans: Sequence[Span], half: float) -> list[float]:
    """Greedily from the nearest: the fewest tiles of width 2 half that cover the spans; their middles, nearest first.

    A tile that ends a span is moved back to the middle of what it has to cover.
    """
    needs: list[tuple[float, float]] = []  # (top, bottom) of what each tile has to cover
    for low, high in sorted(spans, key=lambda span: span[1], reverse=True):
        top = high
        while True:
            if needs:
                reach = needs[-1][0] - 2.0 * half
                if high > reach:  # the last tile covers this span down to `reach`, or all of it
                    needs[-1] = (needs[-1][0], min(needs[-1][1], max(low, reach)))
                    top = reach
                if low >= reach:
                    break
            needs.append((top, max(low, top - 2.0 * half)))
    return [0.5 * (top + bottom) for top, bottom in needs]


def _with_gap(spans: Sequence[Span], half: float, rng: np.random.Generator) -> list[Span]:
    """The spans without one layer; a lone span loses its middle third."""
    if len(spans) >= 2:
        left_out = int(rng.integers(len(spans)))
        low, high = spans[left_out]
        kept = [s for k, s in enumerate(spans) if k != left_out]
        # what lies next to the layer left out must not make it sharp by accident
        cut: list[Span] = []
        for a, b in kept:
            cut += [(x, y) for x, y in ((a, min(b, low - 2 * half)), (max(a, high + 2 * half), b)) if x <= y]
        return cut or list(kept)
    low, high = spans[0]
    third = (high - low) / 3.0
    return [(low, low + third), (high - third, high)]


def _thinned(points: list[float], most: int) -> list[float]:
    if len(points) <= most:
        return points
    picks = np.linspace(0, len(points) - 1, most).round().astype(int)
    return [points[k] for k in picks]


def _spread(point: float, half: float, limit: float) -> list[float]:
    """Two focus points about one depth: on it, and clearly off it (8 depths of field nearer, or farther)."""
    on = min(point, 0.98 * limit)
    off = on + 16.0 * half if on + 16.0 * half < 0.98 * limit else max(on - 16.0 * half, 0.0)
    return sorted((on, off), reverse=True)
