"""Photographs taken from stored layers (`--store layers`): the stored frames again, or new ones by another lens.

    photos = photograph(sample.crop(y, x, 512, 512))                        the frames that the sample records
    photos = photograph(sample, lens=replace(lens_of(sample.camera), f_number=4), focus_distance_m=[0.8, 2, 5])

A window is photographed with what lies around it as far as its largest blur reaches, and no more is read. A window
equals the same part of the whole photograph to one code value. A lens that breathes takes the whole frame for any
window.
"""

from __future__ import annotations

import functools
import math
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mattingmfif.dataset.alignment import aligned_mask
from mattingmfif.dataset.camera import lens_of
from mattingmfif.dataset.layer_store import COLOUR_COLUMNS, DISTANCE_COLUMNS, KNOWN_COLUMNS, MATTE_COLUMNS
from mattingmfif.dataset.sample import ALPHA_COLUMNS, NO_FRAME, SHARP_RADIUS_PX, CameraRecord, decode_depth
from mattingmfif.dataset.shard_file import ShardFile
from mattingmfif.dataset.tiff import Window
from mattingmfif.errors import UserError
from mattingmfif.optics import (
    Exposure,
    Layer,
    Scene,
    Sensor,
    ThinLens,
    Whole,
    composite,
    expose,
    expose_stack,
    render_stack,
)
from mattingmfif.optics.blur import MOST_SLOPE, SLOPE_STEP
from mattingmfif.optics.interaction import NODES_BEYOND_PX
from mattingmfif.optics.scene import Coarse
from mattingmfif.optics.sensor import vignetting_map
from mattingmfif.pixels.codes import codes_of
from mattingmfif.pixels.colour import decode_srgb
from mattingmfif.scene.sensor import with_highlights

if TYPE_CHECKING:
    from mattingmfif.dataset.reader import Sample  # whose frames are photographed here

Codes = npt.NDArray[Any]
Float32 = npt.NDArray[np.float32]

#: windows of the canvas start at multiples of what the renderer reduces layers by, so that it sees the same cells
_ALIGN = 8
#: beyond the radius: the pixels' tent, and what reduction, interpolation and the nodes of the correction look at
_BEYOND_PX = NODES_BEYOND_PX
#: a radius may pass the one that the scene was made for by rounding, not more
_RADIUS_SLACK = 1.001


@dataclass(frozen=True, kw_only=True, eq=False)
class Photographs:
    """A stack as it was taken, with the maps that depend on lens and focus; sizes are those of the sample's window."""

    frames: Codes  # [N,H,W,3] sRGB codes
    target: Codes  # [H,W,3] the same without blur
    blur_radius_px: Float32  # [N,H,W] signed
    sharpest_frame: npt.NDArray[np.uint8]  # [H,W], 255 = none within 0.5 px
    boundary: npt.NDArray[np.bool_]  # [H,W] reached by the blur of a matte edge in some frame
    frame_trust: Float32  # [N,H,W] share of photographed light
    lens: ThinLens
    focus_distance_m: tuple[float, ...]


def photograph(
    sample: Sample,
    *,
    lens: ThinLens | None = None,
    focus_distance_m: Sequence[float] | None = None,
    quality: str | None = None,
    maps: bool = True,
) -> Photographs:
    """The stack of a sample (or of a window of one) by the stored camera, or by another lens and focus plan.

    `quality` is "exact" or "fast" (default: that of the recipe). Without `maps`, radii, sharpest frame, boundary and
    trust are not computed and stay empty. UserError for a sample without stored layers, and for a lens that would blur
    by more than the scene was made for: nobody invented what it would reveal.
    """
    store = _store(sample)
    focus = tuple(float(s) for s in (sample.focus_distance_m if focus_distance_m is None else focus_distance_m))
    if not focus:
        raise UserError("focus_distance_m: none given; allowed: at least one distance")
    anew = lens is not None or not set(focus) <= set(sample.focus_distance_m)
    lens = lens or lens_of(sample.camera)
    reach_px = largest_radius_px(sample, lens, focus)
    if anew and reach_px > store["largest_radius_px"] * _RADIUS_SLACK:
        raise UserError(
            f"{sample.sample_id}: this lens and focus blur by up to {reach_px:.1f} px; the scene was made for "
            f"{store['largest_radius_px']:.1f} px at most: stop down or focus nearer to the layers"
        )
    scene, inner = window_scene(
        sample,
        max(layer_reaches_px(sample, lens, focus, tilted=True)),
        exact=(quality or store["quality"]) == "exact",
        whole=lens.breathing > 0,
    )
    bits = int(sample.file.metadata.get("bits", "8"))
    frames: list[Codes] = []
    trust: list[Float32] = []
    boundary = np.zeros((inner[0].stop - inner[0].start, inner[1].stop - inner[1].start), bool)
    width_px = float(sample.camera.image_width_px)
    taken = focus
    if lens.breathing and not anew:  # the farthest focus of the whole stack is what the frames are magnified against
        taken = tuple(sample.focus_distance_m)
    if maps:
        for exposure in expose_stack(scene, lens, taken, quality or store["quality"], width_px):
            if exposure.focus_distance_m in focus:
                frames.append(_codes(exposure.colour_linear[inner], sample, bits))
                boundary |= _over_target(exposure)[inner]
                trust.append(exposure.trust[inner])
    else:
        lights = render_stack(scene, lens, taken, quality or store["quality"], width_px)
        frames = [_codes(light[inner], sample, bits) for s, light in zip(taken, lights, strict=True) if s in focus]
    if taken is not focus:  # in the order that was asked for
        order = [[s for s in taken if s in focus].index(s) for s in focus]
        frames, trust = [frames[k] for k in order], [trust[k] for k in order] if maps else []
    radii = np.zeros((0, *boundary.shape), np.float32)
    if maps:
        radii = np.stack([lens.blur_radius_px(sample.depth_m, s, width_px) for s in focus])
    return Photographs(
        frames=np.stack(frames),
        target=_codes(composite(scene)[inner], sample, bits),
        blur_radius_px=radii,
        sharpest_frame=sharpest_of_radii(radii) if maps else np.zeros((0, 0), np.uint8),
        boundary=boundary,
        frame_trust=np.stack(trust) if maps else np.zeros((0, *boundary.shape), np.float32),
        lens=lens,
        focus_distance_m=focus,
    )


def sharpest_of_radii(blur_radius_px: Float32) -> npt.NDArray[np.uint8]:
    """[H,W] index of the frame of `[N,H,W]` with the least |radius| (ties: the lowest), 255 above 0.5 px."""
    least = np.abs(blur_radius_px)
    best = np.argmin(least, axis=0)
    sharp = np.take_along_axis(least, best[None], axis=0)[0] <= SHARP_RADIUS_PX
    return np.where(sharp, best, NO_FRAME).astype(np.uint8)


def reassembled(sample: Sample) -> Codes:
    """[H,W,3] sRGB codes of the layers laid over one another without blur: the target, exactly."""
    scene, inner = window_scene(sample, 0.0)
    return _codes(composite(scene)[inner], sample, int(sample.file.metadata.get("bits", "8")))


def largest_radius_px(sample: Sample, lens: ThinLens, focus_distance_m: Sequence[float]) -> float:
    """The largest |blur radius| of any layer in any of the frames, px, as far as the records of the layers tell."""
    return max(layer_reaches_px(sample, lens, focus_distance_m))


def layer_reaches_px(
    sample: Sample, lens: ThinLens, focus_distance_m: Sequence[float], tilted: bool = False
) -> list[float]:
    """The largest |blur radius| of each layer in any of the frames, px; `tilted`: how far its discs reach at most.

    On a steep surface a disc is drawn in perspective, up to twice as long; a ground is not steep.
    """
    store, width_px = sample.layer_store, sample.camera.image_width_px
    shift = max(map(abs, lens.axial_colour_dioptres)) + abs(lens.field_curvature_dioptres)
    reaches = []
    for k, layer in enumerate(sample.layers):
        steep = tilted and store is not None and bool(store["distance_scale"][k]) and layer.kind != "ground"
        radius = max(
            abs(lens.blur_radius_px(distance, s, width_px)) + shift * lens.blur_per_dioptre_px(s, width_px)
            for s in focus_distance_m
            for distance in (layer.near_m, layer.far_m)
        )
        reaches.append(radius / (1.0 - MOST_SLOPE) if steep else radius)
    return reaches


def window_scene(
    sample: Sample, reach_px: float, exact: bool = False, whole: bool = False
) -> tuple[Scene, tuple[slice, slice]]:
    """The layers around the sample's window as far as `reach_px` goes, and where in them the window lies.

    `exact` rendering looks at pixels next to the window as well; `whole` takes the whole canvas.
    """
    store = _store(sample)
    margin = int(store["margin_px"])
    file, row = sample.file, sample.row
    height, width = file.image_size(row, COLOUR_COLUMNS[len(sample.layers) - 1])
    y, x, window_height, window_width = sample.window or (0, 0, *sample.size)
    halo = 0 if reach_px == 0 else math.ceil(reach_px) + _BEYOND_PX
    top, left = max(0, y + margin - halo) // _ALIGN * _ALIGN, max(0, x + margin - halo) // _ALIGN * _ALIGN
    bottom = min(height, -(-(y + margin + window_height + halo) // _ALIGN) * _ALIGN)
    right = min(width, -(-(x + margin + window_width + halo) // _ALIGN) * _ALIGN)
    if whole:
        top, left, bottom, right = 0, 0, height, width
    window = (top, left, bottom - top, right - left)
    layers = []
    for k, record in enumerate(sample.layers):
        background = k + 1 == len(sample.layers)
        if background:
            alpha = np.ones(window[2:], np.float32)
        else:
            alpha = _need(sample, MATTE_COLUMNS[k] if margin else ALPHA_COLUMNS[k], window).astype(
                np.float32
            ) / np.float32(65535)
            if not alpha.any():  # still in the scene: the renderer asks for every layer's radius
                colour = np.broadcast_to(np.zeros(3, np.float32), (*alpha.shape, 3))
                layers.append(Layer(colour, alpha, record.near_m))
                continue
        distance: float | Float32 = record.near_m
        scale = store["distance_scale"][k]
        if scale:
            distance = decode_depth(_need(sample, DISTANCE_COLUMNS[k], window), scale, store["distance_offset"][k])
        known = file.image(row, KNOWN_COLUMNS[k], window)
        layer = Layer(
            decode_srgb(_need(sample, COLOUR_COLUMNS[k], window)),
            alpha,
            distance,
            known=None if known is None else known * np.float32(1 / 255),
        )
        layers.append(with_highlights(layer, sample.camera.draws.get("highlights")))
    inner_y, inner_x = y + margin - top, x + margin - left
    aside = _BEYOND_PX if exact else 0
    view = (
        max(inner_y - aside, 0),
        min(inner_y + window_height + aside, bottom - top),
        max(inner_x - aside, 0),
        min(inner_x + window_width + aside, right - left),
    )
    part_of = Whole(
        shape=(height, width),
        corner=(top, left),
        view=(0, height, 0, width) if whole else view,
        mean_light=float(store["mean_light"]),
        matte_share=float(store["matte_share"]),
        distance_ranges_m=tuple((layer.near_m, layer.far_m) for layer in sample.layers),
        coarse=tuple(_coarse_of(sample, k) if scale else None for k, scale in enumerate(store["distance_scale"])),
    )
    return (
        Scene(layers, part_of=part_of),
        (slice(inner_y, inner_y + window_height), slice(inner_x, inner_x + window_width)),
    )


def _coarse_of(sample: Sample, number: int) -> Coarse:
    """What a window must know of the whole distance map of a layer, and of its matte."""
    store = _store(sample)
    last = number + 1 == len(sample.layers)
    matte = None if last else MATTE_COLUMNS[number] if store["margin_px"] else ALPHA_COLUMNS[number]
    code = (store["distance_scale"][number], store["distance_offset"][number])
    # a ground is the same in every column: one of tiles is enough
    wide = sample.layers[number].kind != "ground" or not last
    return _coarse(weakref.ref(sample.file), sample.row, DISTANCE_COLUMNS[number], matte, code, wide)


@functools.lru_cache(maxsize=64)  # half a megabyte each at 4K
def _coarse(
    of: weakref.ref[ShardFile], row: int, column: str, matte: str | None, code: tuple[float, float], wide: bool
) -> Coarse:
    """By a weak reference, so that what is remembered of a shard does not keep it open."""
    file = of()
    assert file is not None
    height, width = file.image_size(row, column)
    step = slice(None, None, SLOPE_STEP)
    codes = file.image(row, column, (0, 0, height, width if wide else 1))
    alpha = None if matte is None else file.image(row, matte, (0, 0, height, width))
    if codes is None or (matte is not None and alpha is None):
        raise file.fault(row, column, ValueError("absent"))
    distance_m = decode_depth(np.ascontiguousarray(codes[step, step]), *code)
    return Coarse(distance_m, None if alpha is None else alpha[step, step] > 0)


def sensor_of(camera: CameraRecord, bits: int) -> Sensor:
    """The sensor of the record without its noise, which is added at load."""
    known = {item.name for item in fields(Sensor)} - {"iso", "bits"}
    return Sensor(**{name: float(value) for name, value in camera.sensor.items() if name in known}, bits=bits)


def _over_target(exposure: Exposure) -> npt.NDArray[np.bool_]:
    """The boundary of a frame as it lies over the target, from which breathing may have moved it."""
    if exposure.magnification == 1.0:
        return exposure.boundary
    return aligned_mask(exposure.boundary, exposure.magnification)


def _codes(light_linear: Float32, sample: Sample, bits: int) -> Codes:
    """The codes of the sample's window of a frame."""
    sensor = sensor_of(sample.camera, bits)
    if sensor.vignetting_ev:
        height, width = sample.file.image_size(sample.row, "depth")
        y, x = (sample.window or (0, 0))[:2]
        transmission = vignetting_map(height, width, sensor.vignetting_ev)
        light_linear = light_linear * transmission[y:, x:][: light_linear.shape[0], : light_linear.shape[1], None]
        sensor = replace(sensor, vignetting_ev=0.0)
    if sensor.exposure_ev != 0.0:
        light_linear = expose(np.ascontiguousarray(light_linear), sensor)
    return codes_of(light_linear, bits)


def _store(sample: Sample) -> dict[str, Any]:
    store = sample.layer_store
    if store is None:
        raise UserError(f"{sample.sample_id}: its layers are not stored; build with --store layers")
    if not (0 <= store["margin_px"] < 1 << 14 and len(store["distance_scale"]) == len(sample.layers)):
        raise sample.file.fault(sample.row, "layer_store", ValueError("does not fit the layers"))
    return store


def _need(sample: Sample, column: str, window: Window) -> Codes:
    image = sample.file.image(sample.row, column, window)
    if image is None:
        raise sample.file.fault(sample.row, column, ValueError("absent"))
    return image
