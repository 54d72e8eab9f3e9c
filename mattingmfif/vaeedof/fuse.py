"""Frames become one image: the network tile by tile, or a classical fuser, alignment before and groups around it.

    fuse_files(["a.jpg", "b.jpg", "c.jpg"], "fused.png")

More than seven frames are fused in groups of neighbours, then the groups' results: the network sees seven at once.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch

from mattingmfif.errors import EXIT_IO, UserError
from mattingmfif.photo.images import write_image, written_suffix
from mattingmfif.pixels.colour import linear_to_srgb, srgb_to_linear
from mattingmfif.vaeedof.align import ALIGNMENTS, align_stack
from mattingmfif.vaeedof.checkpoint import load_model
from mattingmfif.vaeedof.device import choose_device
from mattingmfif.vaeedof.frames import FileStack, find_frames, read_stack
from mattingmfif.vaeedof.model import VAEEDOF
from mattingmfif.vaeedof.settings import MAX_FRAMES
from mattingmfif.vaeedof.tiles import TILE_PX, fuse_pictures

# the depth order looks around over blurred cells of these px, the widest first; each passes down what it sees
ORDER_STEPS, ORDER_SIGMA_PX, ORDER_PRIOR = (27, 9, 3), 2.0, 0.1
Float32 = npt.NDArray[Any]
Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Fusion:
    """A fused image, linear float32 `[H,W,3]`, and each frame's share in its detail, `[N,H,W]` 0..1, if asked for."""

    image_linear: Float32
    shares: Float32 | None


def groups(count: int) -> list[range]:
    """Neighbouring frames in groups of at most seven, of about equal size."""
    parts = -(-count // MAX_FRAMES)
    edges = [round(k * count / parts) for k in range(parts + 1)]
    return [range(a, b) for a, b in itertools.pairwise(edges)]


def fuse_frames(
    frames: Sequence[Float32],
    model: VAEEDOF,
    *,
    device: torch.device | None = None,
    tile_px: int = TILE_PX,
    precision: str = "auto",
    with_shares: bool = False,
    report: Report | None = None,
) -> Fusion:
    """The fusion of 1 to 40 registered frames, linear float32 `[H,W,3]` of one size; one frame passes through."""
    if len(frames) == 1:
        ones = np.ones((1, *frames[0].shape[:2]), np.float32) if with_shares else None
        return Fusion(image_linear=frames[0], shares=ones)
    if len(frames) > MAX_FRAMES:
        return _fuse_groups(frames, model, device, tile_px, precision, with_shares, report)
    height, width = frames[0].shape[:2]
    pictures = torch.empty(len(frames), 3, height, width)
    for i, frame in enumerate(frames):
        encoded = linear_to_srgb(np.clip(frame, 0, 1)) * np.float32(2) - np.float32(1)
        pictures[i] = torch.from_numpy(np.ascontiguousarray(encoded.transpose(2, 0, 1)))
    fused = fuse_pictures(
        model, pictures, device=device, tile_px=tile_px, precision=precision, with_shares=with_shares, report=report
    )
    picture = fused.picture.numpy().transpose(1, 2, 0)
    image = srgb_to_linear(np.clip((picture + 1) / 2, 0, 1))
    return Fusion(image_linear=image, shares=None if fused.shares is None else fused.shares.numpy())


def _fuse_groups(
    frames: Sequence[Float32],
    model: VAEEDOF,
    device: torch.device | None,
    tile_px: int,
    precision: str,
    with_shares: bool,
    report: Report | None,
) -> Fusion:
    def fuse(some: Sequence[Float32]) -> Fusion:
        return fuse_frames(
            some, model, device=device, tile_px=tile_px, precision=precision, with_shares=with_shares, report=report
        )

    members = groups(len(frames))
    if report:
        report(f"{len(frames)} frames in {len(members)} groups of up to {MAX_FRAMES}")
    parts = [fuse([frames[i] for i in group]) for group in members]
    top = fuse([part.image_linear for part in parts])
    if not with_shares or top.shares is None:
        return top
    shares = [part.shares * share for part, share in zip(parts, top.shares, strict=True) if part.shares is not None]
    return Fusion(image_linear=top.image_linear, shares=np.concatenate(shares))


def depth_order(shares: Float32) -> npt.NDArray[np.uint8]:
    """The frame that each pixel's detail comes from, `[H,W]`, as round(255 i / (N - 1)): 0 the first, 255 the last.

    Where shares are about equal, nothing is there to be sharp, and what is sure farther and farther away decides.
    """
    count, height, width = shares.shape
    if count == 1:
        return np.zeros((height, width), np.uint8)
    first, second = np.zeros((height, width), np.float32), np.zeros((height, width), np.float32)
    for share in shares:
        second = np.maximum(second, np.minimum(first, share))
        first = np.maximum(first, share)
    sure = (first - second) ** 2

    def around(maps: Float32, step: int) -> Float32:
        size = max(1, round(width / step)), max(1, round(height / step))
        return cv2.GaussianBlur(cv2.resize(maps, size, interpolation=cv2.INTER_AREA), (0, 0), ORDER_SIGMA_PX)

    def enlarged(maps: Float32, like: Float32) -> Float32:
        return cv2.resize(maps, (like.shape[1], like.shape[0]), interpolation=cv2.INTER_LINEAR)

    guesses: list[Float32] = [np.full((1, 1), 1 / count, np.float32)] * count
    for step in ORDER_STEPS:
        total = around(sure, step) + ORDER_PRIOR
        guesses = [
            (around(sure * share, step) + ORDER_PRIOR * enlarged(guess, total)) / total
            for share, guess in zip(shares, guesses, strict=True)
        ]
    best, order = np.full((height, width), -1, np.float32), np.zeros((height, width), np.float32)
    for i, (share, guess) in enumerate(zip(shares, guesses, strict=True)):
        found = around(sure * share, 1) + ORDER_PRIOR * enlarged(guess, best)
        order[found > best] = i
        best = np.maximum(best, found)
    codes: npt.NDArray[np.uint8] = np.floor(order * 255 / (count - 1) + 0.5).astype(np.uint8)
    return codes


def share_codes(shares: Float32) -> Iterator[npt.NDArray[np.uint8]]:
    """Shares `[N,H,W]` that sum to 1 as one map of codes after the other; at each pixel they sum to exactly 255."""
    total, before = np.zeros(shares.shape[1:]), np.zeros(shares.shape[1:])
    for i, share in enumerate(shares):
        total += share
        upto = np.floor(np.minimum(total, 1) * 255 + 0.5) if i + 1 < len(shares) else np.full_like(total, 255)
        yield (upto - before).astype(np.uint8)
        before = upto


def load_fuser(checkpoint: str | Path | None) -> VAEEDOF:
    """The network to fuse with; UserError for an auto-encoder that never learnt to fuse."""
    model, about = load_model(checkpoint)
    if about.get("stage") != "fusion":
        raise UserError(f"{checkpoint}: weights of stage {about.get('stage')!r}; `fuse` needs those of stage 'fusion'")
    return model


def fuse_files(
    inputs: Sequence[str | Path],
    output: str | Path,
    *,
    checkpoint: str | Path | None = None,
    align: str = "none",
    device: str = "auto",
    precision: str = "auto",
    tile_px: int = TILE_PX,
    strip_metadata: bool = False,
    weights_folder: str | Path | None = None,
    depth_file: str | Path | None = None,
    report: Report = print,
) -> Path:
    """Fuse image files (or the images of one folder) into `output`; the path written.

    1 to 40 frames of one size, 8 or 16 bit; metadata and profile are the first frame's. `checkpoint` None is the
    network that comes with the package. `align`: none, translation, homography. `weights_folder`: 8-bit PNG of each
    frame's share; `depth_file`: PNG of the frame that each pixel comes from. UserError, one line, if it cannot be done.
    """
    if align not in ALIGNMENTS:
        raise UserError(f"--align {align}: not known; use {', '.join(ALIGNMENTS)}")
    if not 64 <= tile_px <= 16384:
        raise UserError(f"--tile {tile_px}: allowed: 64 to 16384 px")
    written_suffix(output)
    if depth_file is not None and (Path(depth_file).suffix.lower() != ".png" or Path(depth_file).is_dir()):
        raise UserError(f"{depth_file}: the depth order is a PNG file; choose a name that ends in .png")
    if depth_file is not None and Path(depth_file).resolve() == Path(output).resolve():
        raise UserError(f"{depth_file}: the fused picture goes there; choose another file for the depth order")
    # before the work: nobody waits minutes for a result that cannot be written
    folders = [Path(output).parent, *([Path(weights_folder)] if weights_folder is not None else [])]
    _make_folders([*folders, *([Path(depth_file).parent] if depth_file is not None else [])])
    chosen = choose_device(device)
    written = [Path(file) for file in (output, depth_file) if file is not None]
    paths = find_frames(inputs, outputs=written, report=report)
    if weights_folder is not None and Path(weights_folder).resolve() in {path.resolve().parent for path in paths}:
        raise UserError(f"{weights_folder}: holds the frames; choose another folder for the weight maps")
    maps = [] if weights_folder is None else _map_files(Path(weights_folder), paths)
    taken = {path.resolve() for path in (*paths, *written)}
    if over := [file for file in maps if file.resolve() in taken]:
        raise UserError(f"{over[0]}: a weight map goes there; choose another folder for the weight maps")
    model = load_fuser(checkpoint)
    stack = read_stack(paths, report)
    frames = _aligned(stack, align, report)
    if len(frames) == 1:
        report(f"{paths[0].name}: one frame only; it is passed through")
    began = time.monotonic()
    fusion = fuse_frames(
        frames, model, device=chosen, tile_px=tile_px, precision=precision,
        with_shares=weights_folder is not None or depth_file is not None, report=report,
    )  # fmt: skip
    height, width = fusion.image_linear.shape[:2]
    if len(frames) > 1:
        report(f"{len(frames)} frames of {width} x {height} px fused on {chosen} in {time.monotonic() - began:.1f} s")
    write_image(output, fusion.image_linear, stack.like, bits=stack.bits, strip_metadata=strip_metadata)
    if fusion.shares is not None:
        if maps:
            for file, codes in zip(maps, share_codes(fusion.shares), strict=True):
                _write_map(file, codes)
        if depth_file is not None:
            _write_map(Path(depth_file), depth_order(fusion.shares))
    return Path(output)


def _map_files(folder: Path, paths: Sequence[Path]) -> list[Path]:
    return [folder / f"{number:02d}_{path.stem}.png" for number, path in enumerate(paths, start=1)]


def _make_folders(folders: Sequence[Path]) -> None:
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{folder}: cannot be made: {error.strerror or error}", EXIT_IO) from None


def _aligned(stack: FileStack, align: str, report: Report) -> Sequence[Float32]:
    if align == "none" or len(stack.frames) == 1:
        return stack.frames
    frames, registrations = align_stack(stack.frames, align, [path.name for path in stack.paths])
    for path, found in zip(stack.paths, registrations, strict=True):
        report(f"{path.name}: moved by {found.shift_px:.2f} px, magnified {100 * (found.scale - 1):+.2f} %")
    return frames


def _write_map(path: Path, codes: npt.NDArray[np.uint8]) -> None:
    done, content = cv2.imencode(".png", codes)
    if not done:
        raise UserError(f"{path}: cannot be encoded", EXIT_IO)
    try:
        path.write_bytes(content.tobytes())
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}", EXIT_IO) from None
