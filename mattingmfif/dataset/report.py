"""Contact sheets: everything a sample holds on one picture, with captions, for eyes.

A sheet shows the target, the maps (depth, sharpest frame, mattes, boundary, trust), a detail at a matte edge in actual
pixels, and every frame with its focus distance and the blur radius of every layer, nearest first. The other pictures
are area averages of the stored sRGB codes.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from mattingmfif.dataset.describe import spread_choice
from mattingmfif.dataset.physics import layer_radii_px
from mattingmfif.dataset.preview import thumbnail, to_8_bit
from mattingmfif.dataset.reader import Sample, open_shards
from mattingmfif.dataset.sample import MAX_FRAMES, NO_FRAME, TRUST_COLUMNS, check_key
from mattingmfif.dataset.shard_file import ShardFile
from mattingmfif.dataset.whole_files import write_whole
from mattingmfif.errors import EXIT_FAULTS, UserError

PREVIEW_FOLDER = "previews"
#: sheets that `write_previews` makes unless asked for more
PREVIEW_COUNT = 24

Picture = npt.NDArray[np.uint8]

_COLUMNS, _CELL_PX, _GAP_PX = 4, 480, 14
_TITLE_PX, _CAPTION_PX, _LINE_PX = 62, 46, 19
_PAPER, _INK, _FAINT = (255, 255, 255), (25, 25, 25), (105, 105, 105)
#: frames 0 to 6, then the gap
_FRAME_COLOURS = (
    (214, 69, 65),
    (244, 160, 57),
    (245, 222, 98),
    (92, 178, 92),
    (70, 160, 205),
    (74, 92, 184),
    (158, 92, 178),
    (40, 40, 40),
)


def contact_sheet(sample: Sample) -> Pillow.Image:
    """An RGB picture of the sample, about 2,000 px wide: target and maps first, then the frames in order."""
    height, width = sample.size
    cell_height = max(60, round(_CELL_PX * height / width))
    if cell_height > 1.2 * _CELL_PX:  # portraits: fewer pixels across, not a taller sheet
        cell_height = round(1.2 * _CELL_PX)
    cell_width = min(_CELL_PX, max(60, round(cell_height * width / height)))
    panels = [*_map_panels(sample, cell_width, cell_height), *_frame_panels(sample, cell_width, cell_height)]
    rows = -(-len(panels) // _COLUMNS)
    block = cell_height + _CAPTION_PX + _GAP_PX
    sheet_width = _COLUMNS * (_CELL_PX + _GAP_PX) + _GAP_PX
    sheet = Pillow.new("RGB", (sheet_width, _TITLE_PX + rows * block + _GAP_PX), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for line, text in enumerate(_title(sample)):
        font = ImageFont.load_default(20 if line == 0 else 15)
        draw.text((_GAP_PX, 10 + 26 * line), _fitted(text, font, sheet_width - 2 * _GAP_PX), _INK, font=font)
    for index, (picture, captions) in enumerate(panels):
        left = _GAP_PX + (index % _COLUMNS) * (_CELL_PX + _GAP_PX)
        top = _TITLE_PX + _GAP_PX + (index // _COLUMNS) * block
        sheet.paste(Pillow.fromarray(picture), (left, top))
        draw.rectangle((left - 1, top - 1, left + cell_width, top + cell_height), outline=(190, 190, 190))
        for line, caption in enumerate(captions):
            place = (left, top + cell_height + 4 + _LINE_PX * line)
            if isinstance(caption, str):
                font = ImageFont.load_default(16 if line == 0 else 14)
                draw.text(place, _fitted(caption, font, _CELL_PX), _INK if line == 0 else _FAINT, font=font)
            else:
                _legend(draw, place, caption)
    return sheet


def write_previews(
    out: Path,
    limit: int = PREVIEW_COUNT,
    on_preview: Callable[[int, int], None] | None = None,
    data: Path | str | None = None,
    in_turn: Callable[[Callable[[SheetTask], SheetError], list[SheetTask]], Iterable[SheetError]] = map,
) -> list[Path]:
    """Write contact sheets to `OUT/previews/<sample id>.jpg` and return their paths in the order of the dataset.

    At most `limit` samples, picked by the hash of their ids so that the choice is spread and does not change. The
    shards lie in `out`, or in the folder at the address `data`. `in_turn` runs the tasks, as `map` does, or by workers.
    A damaged shard is a UserError (exit code 1), a full disk an OSError, raised when all sheets were tried.
    """
    shards = open_shards(out if data is None else data)
    folder = out / PREVIEW_FOLDER
    folder.mkdir(exist_ok=True)
    samples = [shards[index] for index in spread_choice(shards, limit)]
    tasks = [SheetTask(file=sample.file, row=sample.row, folder=folder.absolute()) for sample in samples]
    first: SheetError = None
    for done, error in enumerate(in_turn(write_sheet, tasks), start=1):
        first = first or error
        if on_preview is not None:
            on_preview(done, len(tasks))
    if first is not None:
        raise first
    return [folder / f"{sample.sample_id}.jpg" for sample in samples]


@dataclass(frozen=True, kw_only=True)
class SheetTask:
    """One contact sheet to write."""

    file: ShardFile
    row: int
    folder: Path


def write_sheet(task: SheetTask) -> SheetError:
    """Write the contact sheet of one sample; what went wrong comes back, because workers must not raise."""
    try:
        sample = Sample(task.file, task.row)
        check_key(sample.sample_id)
        stream = io.BytesIO()
        contact_sheet(sample).save(stream, "JPEG", quality=88)
        write_whole(task.folder / f"{sample.sample_id}.jpg", stream.getvalue())
    except (UserError, OSError) as error:
        return error
    except Exception as error:  # whatever a record that makes no sense leads to
        what = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        return UserError(f"{task.file.path.name}, row {task.row}: no contact sheet can be made ({what})", EXIT_FAULTS)
    return None


#: what went wrong with a contact sheet
SheetError = UserError | OSError | None
Caption = str | list[tuple[tuple[int, int, int], str]]
Panel = tuple[Picture, list[Caption]]


def _title(sample: Sample) -> list[str]:
    camera = sample.camera
    height, width = sample.size
    lens = f"{camera.focal_length_mm:g} mm f/{camera.f_number:.3g}, sensor {camera.sensor_width_mm:g} mm"
    sources = ", ".join(f"{source.path} ({source.licence})" for source in sample.sources)
    what = f"{sample.split}   {width} x {height} px   {sample.n_frames} frames, plan '{sample.focus_plan}'"
    layers = "; ".join(_layer(layer) for layer in sample.layers)
    return [f"{sample.sample_id}   {what}   {lens}", f"layers, nearest first: {layers}.   Sources: {sources}"]


def _layer(layer: Any) -> str:
    near, far = metres(layer.near_m), metres(layer.far_m)
    return f"{layer.kind} {near}" if near == far else f"{layer.kind} {near} to {far}"


def metres(distance_m: float) -> str:
    """A distance as a person writes it: three digits and the unit, `inf` for infinity."""
    return "inf" if np.isinf(distance_m) else f"{distance_m:.3g} m"


def _map_panels(sample: Sample, width: int, height: int) -> Iterator[Panel]:
    yield thumbnail(sample.target, width, height), ["target: everything sharp", f"{sample.licence}"]
    yield _depth_panel(sample, width, height)
    yield _sharpest_panel(sample, width, height)
    yield _matte_panel(sample, width, height)
    boundary = sample.boundary
    grey = thumbnail(boundary.astype(np.uint8) * 255, width, height)
    yield _grey(grey), [f"boundary: {_share(boundary)} of the pixels", "white: reached by the blur of a matte edge"]
    trust = sample.image("trust")
    assert trust is not None
    yield (
        _grey(thumbnail(trust, width, height)),
        [f"trust of the target: {_share(trust == 255)} photographed", "black: invented"],
    )
    least = trust
    for name in TRUST_COLUMNS[: sample.n_frames]:
        of_frame = sample.image(name)
        assert of_frame is not None
        least = np.minimum(least, of_frame)
    caption = f"least trust of the frames: {_share(least == 255)} photographed"
    yield _grey(thumbnail(least, width, height)), [caption, "black: invented in at least one frame"]
    yield _detail_panel(sample, boundary, width, height)


def _frame_panels(sample: Sample, width: int, height: int) -> Iterator[Panel]:
    radii = layer_radii_px(sample)
    for k in range(sample.n_frames):
        image = sample.quick_frame(k)
        spans = []
        for near, far in radii[k]:
            spans.append(f"{near:+.1f}" if abs(near - far) < 0.05 else f"{near:+.1f}..{far:+.1f}")
        captions: list[Caption] = [
            f"frame {k}: focus at {metres(sample.focus_distance_m[k])}",
            f"radius by layer, px: {'  '.join(spans)}",
        ]
        yield thumbnail(image, width, height), captions


def _detail_panel(sample: Sample, boundary: npt.NDArray[np.bool_], width: int, height: int) -> Panel:
    marked = np.flatnonzero(boundary)
    middle = int(marked[len(marked) // 2]) if len(marked) else boundary.size // 2 + boundary.shape[1] // 2
    size = sample.size
    part_height, part_width = min(height, size[0]), min(width // 3 - 2, size[1])
    y = int(np.clip(middle // size[1] - part_height // 2, 0, size[0] - part_height))
    x = int(np.clip(middle % size[1] - part_width // 2, 0, size[1] - part_width))
    picture = np.full((height, width, 3), 255, np.uint8)
    last = sample.n_frames - 1
    detail = sample.crop(y, x, part_height, part_width)
    for k, part in enumerate((detail.target, detail.quick_frame(0), detail.quick_frame(last))):
        left = k * (width // 3 + 1)
        picture[:part_height, left : left + part_width] = to_8_bit(part)
    return picture, [f"actual pixels from y={y} x={x}", f"left to right: target, frame 0, frame {last}"]


def _depth_panel(sample: Sample, width: int, height: int) -> Panel:
    codes = sample.image("depth")
    assert codes is not None
    small = cv2.resize(codes, (width, height), interpolation=cv2.INTER_NEAREST)
    flat = sample.camera.depth_scale == 1.0  # one distance everywhere
    shown = np.full((height, width), 128, np.uint8) if flat else np.asarray(small // 256, np.uint8)
    picture = np.asarray(cv2.applyColorMap(shown, cv2.COLORMAP_VIRIDIS)[..., ::-1])
    depth_m = sample.depth_m
    nearest, farthest = metres(float(depth_m.min())), metres(float(depth_m.max()))
    return np.ascontiguousarray(picture), [
        f"depth: {nearest} to {farthest}",
        "bright: near; even steps of 1 / distance",
    ]


def _sharpest_panel(sample: Sample, width: int, height: int) -> Panel:
    index = sample.sharpest_frame
    small = np.asarray(cv2.resize(index, (width, height), interpolation=cv2.INTER_NEAREST))
    table = np.zeros((256, 3), np.uint8)
    table[:MAX_FRAMES] = _FRAME_COLOURS[:MAX_FRAMES]
    table[NO_FRAME] = _FRAME_COLOURS[MAX_FRAMES]
    legend = [(_FRAME_COLOURS[k], f"{k}: {_share(index == k)}") for k in range(sample.n_frames)]
    gap = _share(index == NO_FRAME)
    legend.append((_FRAME_COLOURS[MAX_FRAMES], f"gap {gap}"))
    return table[small], ["sharpest frame (gap: radius over 0.5 px in every frame)", legend]


def _matte_panel(sample: Sample, width: int, height: int) -> Panel:
    picture = np.full((height, width, 3), 235.0, np.float32)
    alphas = sample.alphas
    for k in range(len(alphas) - 1, -1, -1):
        small = cv2.resize(alphas[k], (width, height), interpolation=cv2.INTER_AREA)[..., None]
        picture = picture * (1 - small) + np.asarray(_FRAME_COLOURS[k], np.float32) * small
    shares = [(_FRAME_COLOURS[k], f"{k}: {float(alpha.mean()):.1%}") for k, alpha in enumerate(alphas)]
    legend: Caption = shares or "no mattes: one layer"
    return np.rint(picture).astype(np.uint8), ["mattes in their order, nearest on top", legend]


def _legend(
    draw: ImageDraw.ImageDraw, place: tuple[int, int], items: Sequence[tuple[tuple[int, int, int], str]]
) -> None:
    left, top = place
    font = ImageFont.load_default(13)
    for colour, text in items:
        draw.rectangle((left, top + 3, left + 10, top + 13), fill=colour)
        draw.text((left + 14, top), text, _FAINT, font=font)
        left += 22 + int(draw.textlength(text, font=font))


def _fitted(text: str, font: Any, width_px: int) -> str:
    """The text, cut with dots where it would be wider; control characters become spaces."""
    clean = "".join(letter if letter.isprintable() else " " for letter in text)
    if font.getlength(clean) <= width_px:
        return clean
    while clean and font.getlength(clean + "...") > width_px:
        clean = clean[: max(0, len(clean) - 1 - len(clean) // 20)]
    return clean + "..."


def _share(mask: npt.NDArray[np.bool_]) -> str:
    return f"{float(mask.mean()):.1%}"


def _grey(picture: Picture) -> Picture:
    return np.ascontiguousarray(np.repeat(picture[..., None], 3, axis=2))
