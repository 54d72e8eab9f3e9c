"""Small pictures of a photograph on its way into layers, for a person to judge: JPEG bytes with a caption each."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from mattingmfif.dataset.intake import Prepared
from mattingmfif.dataset.recipe import Recipe
from mattingmfif.errors import Refused
from mattingmfif.matting.layers import Cutouts, subject_labels
from mattingmfif.matting.subjects import Subjects
from mattingmfif.matting.trimap import UNKNOWN
from mattingmfif.optics import composite, expose_stack
from mattingmfif.pixels.colour import Float32, encode_srgb
from mattingmfif.pixels.resample import fit_long_side
from mattingmfif.pixels.surfaces import sampled_at
from mattingmfif.scene.draw import stage_rng
from mattingmfif.scene.in_place import in_place_shot

Codes = npt.NDArray[np.uint8]

LONG_SIDE_PX = 560
_CHECKER_PX, _CHECKER_CODES = 14, (205, 245)
_SUBJECT_COLOURS = ((230, 90, 70), (70, 140, 230), (90, 190, 90), (220, 180, 60), (170, 100, 210), (60, 190, 190))


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A JPEG and what it shows."""

    caption: str
    jpeg: bytes


def thumbnail_of(prepared: Prepared) -> Picture:
    """The photograph as it is used."""
    height, width = prepared.linear.shape[:2]
    return _picture(f"photo, {width} x {height}", _codes(prepared.linear))


def softness_picture(prepared: Prepared) -> Picture:
    """Where the sharpness gate sees soft edges (red), sharp ones (as they are), and too little to tell (dark)."""
    report = prepared.sharpness
    height, width = _small_shape(prepared.linear.shape)

    def enlarged(cells: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        return cv2.resize(cells.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) > 0

    soft, told = enlarged(report.edge_width_px > report.soft_width_px), enlarged(report.evidence)
    photo = _codes(prepared.linear).astype(np.float32)
    share = np.where(told & soft, np.float32(0.55), np.float32(0))[..., None]
    photo = np.where(told[..., None], photo, photo * np.float32(0.3)) * (1 - share) + share * np.array(
        [255, 40, 30], np.float32
    )
    return _picture(
        f"red: edges wider than {report.soft_width_px:.3g} px; dark: too little to tell",
        np.rint(photo).astype(np.uint8),
    )


def matte_pictures(prepared: Prepared, cutouts: Cutouts | None) -> list[Picture]:
    """The cut-outs over a checkerboard and the plate behind them; nothing where there are none."""
    if cutouts is None:
        return []
    over = _checkerboard(_small_shape(prepared.linear.shape))
    for cutout in reversed(cutouts.cutouts):
        over = _over(_codes(cutout.colour_linear), _small(cutout.alpha), over)
    return [_picture("cut-outs", over), _picture("plate", _codes(cutouts.plate_linear))]


def depth_pictures(prepared: Prepared) -> list[Picture]:
    """The depth map, bright where it is near and grey where it is unknown; nothing where there is none."""
    depth = prepared.depth
    if depth is None:
        return []
    height, width = _small_shape(depth.distance_m.shape)
    distance_m = np.asarray(sampled_at(depth.distance_m, height, width), np.float32)
    known = np.asarray(sampled_at(depth.trusted, height, width)) > 0
    nearness = np.where(np.isinf(distance_m), np.float32(0), 1 / distance_m)
    share = (nearness - nearness.min()) / max(float(np.ptp(nearness)), 1e-12)
    colours = cv2.applyColorMap(np.rint(255 * share).astype(np.uint8), cv2.COLORMAP_VIRIDIS)[..., ::-1]
    caption = f"depth, {float(depth.distance_m.min()):.3g} to {float(depth.distance_m.max()):.3g} m"
    if prepared.depth_model:
        caption += f", estimated by {prepared.depth_model['model']}"
    unknown = 1 - float((depth.trusted > 0).mean())
    if unknown:
        caption += f", {unknown:.1%} unknown"
    return [_picture(caption, np.where(known[..., None], colours, np.uint8(128)))]


def layer_pictures(
    prepared: Prepared, subjects: Subjects | None, cutouts: Cutouts | None, recipe: Recipe
) -> list[Picture]:
    """Trimap, alpha, the layers pulled apart, three frames of a stack and its target."""
    pictures = []
    if subjects is not None and cutouts is not None:
        if not subjects.are_alphas:
            pictures.append(_picture("trimap (grey: solved for)", _trimap(subject_labels(subjects, recipe.matting))))
        pictures.append(_picture("alpha, a colour a subject", _alphas([cutout.alpha for cutout in cutouts.cutouts])))
        pictures.append(_picture("layers pulled apart", _pulled_apart(cutouts)))
    try:
        shot = in_place_shot(
            prepared.linear, cutouts, prepared.depth, recipe.shot_settings, partial(stage_rng, 0, prepared.sha256)
        )
    except Refused as refused:
        return [*pictures, _picture(f"no scene: {refused}", _checkerboard(_small_shape(prepared.linear.shape)))]
    distances = shot.focus_distance_m
    chosen = [distances[k] for k in sorted({0, len(distances) // 2, len(distances) - 1})]
    for focus_m, exposure in zip(
        chosen,
        expose_stack(shot.scene, shot.lens, chosen, quality="fast", image_width_px=shot.image_width_px),
        strict=True,
    ):
        pictures.append(_picture(f"frame focused at {focus_m:.2f} m", _codes(exposure.colour_linear)))
    pictures.append(_picture("target", _codes(composite(shot.scene))))
    return pictures


def _small_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    return fit_long_side(shape[0], shape[1], LONG_SIDE_PX)


def _small(plane: Float32) -> Float32:
    height, width = _small_shape(plane.shape)
    return np.asarray(cv2.resize(plane, (width, height), interpolation=cv2.INTER_AREA), np.float32)


def _codes(linear: Float32) -> Codes:
    return encode_srgb(_small(linear))


def _checkerboard(shape: tuple[int, int]) -> Codes:
    y, x = np.indices(shape) // _CHECKER_PX
    grey = np.asarray(_CHECKER_CODES, np.uint8)[(y + x) % 2]
    return np.repeat(grey[..., None], 3, axis=2)


def _over(front: Codes, alpha: Float32, behind: Codes) -> Codes:
    weight = alpha[..., None]
    return np.rint(front * weight + behind * (1 - weight)).astype(np.uint8)


def _trimap(labels: npt.NDArray[np.int16]) -> Codes:
    grey = np.where(labels == UNKNOWN, 128, np.where(labels == 0, 0, 255)).astype(np.float32)
    return np.repeat(np.rint(_small(grey)).astype(np.uint8)[..., None], 3, axis=2)


def _alphas(alphas: list[Float32]) -> Codes:
    out = np.zeros((*_small_shape(alphas[0].shape), 3), np.uint8)
    for k in range(len(alphas) - 1, -1, -1):
        colour = np.full_like(out, _SUBJECT_COLOURS[k % len(_SUBJECT_COLOURS)])
        out = _over(colour, _small(alphas[k]), out)
    return out


def _pulled_apart(cutouts: Cutouts) -> Codes:
    """The layers as cards one behind the other, seen from the side, the plate at the back."""
    height, width = _small_shape(cutouts.plate_linear.shape)
    count = len(cutouts.cutouts) + 1
    share = 0.62
    step_x = (1 - share) * width / max(count - 1, 1)
    step_y = 0.3 * (1 - share) * height / max(count - 1, 1)
    slant = -0.18
    canvas = np.full((height, width, 3), 255, np.uint8)
    planes = [(_codes(cutouts.plate_linear), np.ones((height, width), np.float32))]
    planes += [(_codes(cutout.colour_linear), _small(cutout.alpha)) for cutout in reversed(cutouts.cutouts)]
    for place, (colour, alpha) in enumerate(planes):
        x, y = place * step_x, place * step_y - slant * share * width * 0.5
        matrix = np.array([[share, 0, x], [slant * share, share, y]], np.float32)
        warped = cv2.warpAffine(colour, matrix, (width, height), flags=cv2.INTER_AREA)
        frame = cv2.warpAffine(np.ones((height, width), np.float32), matrix, (width, height))
        cover = cv2.warpAffine(alpha, matrix, (width, height))
        veil = 0.12 * frame * (place > 0)  # a hint of the card that carries the cut-out
        canvas = _over(np.full_like(canvas, 150), np.asarray(veil, np.float32), canvas)
        canvas = _over(warped, np.asarray(cover, np.float32), canvas)
    return canvas


def _picture(caption: str, codes: Codes) -> Picture:
    stream = io.BytesIO()
    Image.fromarray(codes).save(stream, "JPEG", quality=87)
    return Picture(caption=caption, jpeg=stream.getvalue())
