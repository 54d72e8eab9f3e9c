"""Composite scenes: cut-outs from several photographs over another. Nothing is invented: all layers are known.

The background keeps a margin of the largest blur on each side, which is cropped away after rendering, so that nothing
outside the photograph is ever seen. A cut-out is only ever reduced; one that its own frame cuts off stays flush with
that side of the canvas, so that no straight cut shows. Exposure is matched part of the way; over a photograph without
colours nothing has colours.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from mattingmfif.errors import Refused
from mattingmfif.optics import Layer
from mattingmfif.pixels.colour import luminance
from mattingmfif.pixels.resample import reduce_to
from mattingmfif.scene.distances import (
    dioptres,
    draw_lens,
    ground_distance_m,
    spread_distances,
    stopped_down,
)
from mattingmfif.scene.in_place import contact_row
from mattingmfif.scene.settings import ShotSettings
from mattingmfif.scene.shot import LayerFacts, Shot, quantised_alpha, quantised_colour, take_aim

Float32 = npt.NDArray[np.float32]

#: alpha above which a pixel belongs to a cut-out's box
BOX_ALPHA = 1 / 255
#: exposure of a cut-out is moved this share of the way (in stops) towards its background, by at most this factor
MATCH_SHARE, MATCH_LIMIT = 0.5, 1.6
#: channels that differ by less than this share, in the mean, make a photograph without colours
COLOURLESS = 0.01
#: a cut-out of which a greater share is half transparent is fog over another photograph
MOST_SOFT_SHARE = 0.5
#: frames below this size are not worth the margin
LEAST_SIDE_PX = 64


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A cut-out to paste: its colour and matte in its own photograph, and which source it comes from."""

    colour_linear: Float32
    alpha: Float32
    source: int
    scores: dict[str, float]


def margin_px(long_side_px: int, largest_blur_radius_share: float) -> int:
    """Margin on each side of a composite canvas: the largest blur radius and the kernel's 1 px tent, rounded up."""
    return math.ceil(largest_blur_radius_share * long_side_px) + 2


def solidity_px(alpha: Float32) -> float:
    """Pixels that are all the subject's, less those that are half transparent: what makes a cut-out worth pasting."""
    return float((alpha > 0.95).sum()) - float(((alpha > 0.05) & (alpha <= 0.95)).sum())


def soft_share(alpha: Float32) -> float:
    """The share of a cut-out's pixels that are half transparent."""
    return float(((alpha > 0.05) & (alpha <= 0.95)).sum()) / max(1.0, float((alpha > 0.05).sum()))


def without_fog(pieces: list[Piece]) -> list[Piece]:
    """The pieces without those that are mostly half transparent; the most solid one where all are."""
    clear = [piece for piece in pieces if soft_share(piece.alpha) <= MOST_SOFT_SHARE]
    return clear or sorted(pieces, key=lambda piece: soft_share(piece.alpha))[:1]


def composite_shot(
    background_linear: Float32,
    pieces: list[Piece],
    settings: ShotSettings,
    streams: Callable[[str], np.random.Generator],
) -> Shot:
    """The shot of `pieces` over the photograph `background_linear` `[H,W,3]` (source 0).

    Raises Refused when the background has no room for the margin or no piece can be used.
    """
    canvas_height, canvas_width = background_linear.shape[:2]
    margin = margin_px(max(canvas_height, canvas_width), settings.lens.largest_blur_radius_share)
    height, width = canvas_height - 2 * margin, canvas_width - 2 * margin
    if min(height, width) < LEAST_SIDE_PX:
        raise Refused(
            "composite-too-small",
            f"{canvas_width}x{canvas_height} leaves {width}x{height} inside the margin",
            stage="scene",
        )
    pieces = without_fog(pieces)
    if not pieces:
        raise Refused("composite-no-cut-out", "no cut-out is left", stage="scene")
    image_width_px = float(max(height, width))
    limit_px = settings.lens.largest_blur_radius_share * image_width_px
    lens = draw_lens(settings.lens, settings.aperture, streams)
    nearest_m = settings.distances.nearest_m.number(streams("nearest"))
    farthest_m = settings.distances.farthest_m.number(streams("farthest"))
    kind = settings.scene.background.word(streams("background"))
    spread, lens = spread_distances(
        len(pieces) + 1,
        nearest_m,
        farthest_m,
        lens,
        image_width_px,
        settings.distances.least_gap_px,
        limit_px,
        streams("distances"),
    )
    draws: dict[str, float | str] = {}
    back_distance: float | Float32 = spread[-1]
    horizon = None
    if kind == "ground":
        horizon = settings.scene.horizon.number(streams("horizon"))
        draws["horizon"] = horizon
        lens = stopped_down(lens, nearest_m, farthest_m, image_width_px, limit_px)
        back_distance = ground_distance_m(canvas_height, canvas_width, horizon, nearest_m, farthest_m)
    place = streams("place")
    layers, facts, codes = [], [], []
    for index, piece in enumerate(pieces):
        share = settings.scene.composite_height.number(place)
        stand_row = None
        if horizon is not None:
            # the row at which the receding ground has this distance
            down = (dioptres(spread[index]) - dioptres(farthest_m)) / (dioptres(nearest_m) - dioptres(farthest_m))
            stand_row = (horizon + (1 - horizon) * down) * (canvas_height - 1)
        colour, alpha = pasted(piece, background_linear, share * height, margin, stand_row, place)
        alpha_codes, alpha = quantised_alpha(alpha)
        if alpha.max(initial=0.0) < 0.5:
            raise Refused("composite-no-cut-out", f"cut-out {index} fell outside the frame", stage="scene")
        distance = spread[index]
        layers.append(Layer(quantised_colour(colour, settings.bits), alpha, distance))
        codes.append(alpha_codes)
        facts.append(
            LayerFacts(
                kind="subject", source=piece.source, nearest_m=distance, farthest_m=distance, scores=dict(piece.scores)
            )
        )
    layers.append(
        Layer(
            quantised_colour(background_linear, settings.bits),
            np.ones((canvas_height, canvas_width), np.float32),
            back_distance,
        )
    )
    facts.append(
        LayerFacts(
            kind=kind,
            source=0,
            nearest_m=float(np.min(back_distance)),
            farthest_m=float(np.max(back_distance)),
            scores={},
        )
    )
    return take_aim(layers, facts, lens, image_width_px, settings, streams, alphas=codes, margin_px=margin, draws=draws)


def pasted(
    piece: Piece,
    background_linear: Float32,
    target_height_px: float,
    margin: int,
    stand_row: float | None,
    rng: np.random.Generator,
) -> tuple[Float32, Float32]:
    """Colour `[H,W,3]` and matte `[H,W]` of a cut-out on the background's canvas: scaled, placed, exposure matched."""
    canvas_height, canvas_width = background_linear.shape[:2]
    rows, columns = (
        np.flatnonzero((piece.alpha > BOX_ALPHA).any(axis=1)),
        np.flatnonzero((piece.alpha > BOX_ALPHA).any(axis=0)),
    )
    if not rows.size:
        raise Refused("composite-no-cut-out", "the matte is empty", stage="scene")
    top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    alpha = np.ascontiguousarray(piece.alpha[top:bottom, left:right])
    colour = piece.colour_linear[top:bottom, left:right]
    source_height, source_width = piece.alpha.shape
    sides = {"top": top == 0, "bottom": bottom == source_height, "left": left == 0, "right": right == source_width}
    scale = min(1.0, target_height_px / alpha.shape[0], 0.9 * (canvas_width - 2 * margin) / alpha.shape[1])
    # cut off on two opposite sides it has to span the canvas, as far as it can without being enlarged
    if sides["left"] and sides["right"]:
        scale = min(1.0, max(scale, canvas_width / alpha.shape[1]))
    if sides["top"] and sides["bottom"]:
        scale = min(1.0, max(scale, canvas_height / alpha.shape[0]))
    new_height, new_width = max(1, round(alpha.shape[0] * scale)), max(1, round(alpha.shape[1] * scale))
    if (new_height, new_width) != alpha.shape:
        premultiplied = reduce_to(colour * alpha[..., None], new_height, new_width)
        plain = reduce_to(colour, new_height, new_width)  # where alpha is 0 the colour still needs a value
        alpha = np.clip(reduce_to(alpha, new_height, new_width), 0.0, 1.0)
        colour = np.where(alpha[..., None] > 1e-3, premultiplied / np.maximum(alpha[..., None], 1e-3), plain)
    if is_colourless(background_linear):
        colour = np.repeat(luminance(colour)[..., None], 3, axis=2)
    colour = colour * np.float32(exposure_gain(colour, alpha, background_linear))
    colour = np.clip(colour, 0.0, 1.0).astype(np.float32)

    low, high = margin - new_width // 4, canvas_width - margin - new_width + new_width // 4
    x = round(float(rng.uniform(min(low, high), max(low, high))))
    sway = float(rng.uniform(0.0, 1.0))
    if sides["left"]:
        x = 0
    elif sides["right"]:
        x = canvas_width - new_width
    if sides["bottom"]:
        y = canvas_height - new_height
    elif sides["top"]:
        y = 0
    elif stand_row is not None:
        y = round(stand_row) - contact_row(alpha)
    else:
        # bottoms of free-standing cut-outs lie in the lower third, where things stand
        y = round(canvas_height - margin - new_height - sway * 0.33 * (canvas_height - 2 * margin))
        y = max(y, margin - new_height // 4)
    out_colour = np.empty((canvas_height, canvas_width, 3), np.float32)
    out_colour[:] = colour[alpha > 0.5].mean(axis=0) if (alpha > 0.5).any() else colour.reshape(-1, 3).mean(axis=0)
    out_alpha = np.zeros((canvas_height, canvas_width), np.float32)
    y0, y1, x0, x1 = max(0, y), min(canvas_height, y + new_height), max(0, x), min(canvas_width, x + new_width)
    if y1 > y0 and x1 > x0:
        out_colour[y0:y1, x0:x1] = colour[y0 - y : y1 - y, x0 - x : x1 - x]
        out_alpha[y0:y1, x0:x1] = alpha[y0 - y : y1 - y, x0 - x : x1 - x]
    return out_colour, out_alpha


def is_colourless(photo_linear: Float32) -> bool:
    """Whether a photograph `[H,W,3]` is black and white."""
    small = cv2.resize(photo_linear, (64, 64), interpolation=cv2.INTER_AREA)
    spread = small.max(axis=-1) - small.min(axis=-1)
    return float(spread.mean()) < COLOURLESS * max(float(small.mean()), 1e-3)


def exposure_gain(colour_linear: Float32, alpha: Float32, background_linear: Float32) -> float:
    """Factor that brings a cut-out's mean luminance part of the way to its background's, clipping no highlights."""
    weight = float(alpha.sum())
    if weight <= 0:
        return 1.0
    own = luminance(colour_linear)
    mean = float((own * alpha).sum()) / weight
    behind = float(luminance(cv2.resize(background_linear, (64, 64), interpolation=cv2.INTER_AREA)).mean())
    gain = (max(behind, 1e-3) / max(mean, 1e-3)) ** MATCH_SHARE
    gain = min(max(gain, 1 / MATCH_LIMIT), MATCH_LIMIT)
    bright = float(np.quantile(colour_linear[alpha > 0.5], 0.995)) if (alpha > 0.5).any() else 1.0
    return float(min(gain, max(1.0, 1.0 / max(bright, 1e-3))) if gain > 1 else gain)
