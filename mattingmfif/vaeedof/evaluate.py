"""VAEEDOF beside the classical fusers and the selection oracle, on datasets with truth and on stacks without.

    evaluate_folder("dataset/", "report/")          shards: PSNR and SSIM by region, against the target
    evaluate_folder("Lytro/", "report/")            files: the 17 fusion metrics; PSNR and SSIM where there is truth

Regions: `all`; `boundary`, where some frame's blur reaches from a matte edge; `gap`, sharp in no frame; `trusted`,
where every bit of light was photographed. Means over stacks; a region that a stack lacks is left out of its mean.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch

from mattingmfif.dataset.reader import open_shards
from mattingmfif.dataset.shard_file import find_shards
from mattingmfif.errors import EXIT_IO, UserError
from mattingmfif.pixels.colour import decode_srgb, encode_srgb
from mattingmfif.vaeedof.align import ALIGNMENTS, align_stack
from mattingmfif.vaeedof.baselines import BASELINES, selection_oracle
from mattingmfif.vaeedof.device import choose_device
from mattingmfif.vaeedof.folders import StackFiles, find_stacks
from mattingmfif.vaeedof.frames import read_stack
from mattingmfif.vaeedof.fuse import fuse_frames, load_fuser
from mattingmfif.vaeedof.metrics import MIN_SIDE_PX, fusion_metrics, psnr, ssim_map, to_grey
from mattingmfif.vaeedof.metrics_learned import Distance, find_lpips
from mattingmfif.vaeedof.model import VAEEDOF
from mattingmfif.vaeedof.stacks import Stack, whole_stack
from mattingmfif.vaeedof.standings import Row, markdown_table, wins_table

Codes = npt.NDArray[Any]
Report = Callable[[str], None]
NETWORK, ORACLE = "vaeedof", "oracle"
TRUSTED = 254.5 / 255
CROP_PX = 256


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """All rows, and for a person their means and how often each network is ahead."""

    rows: list[Row]
    table: str


def regions(stack: Stack) -> dict[str, npt.NDArray[np.bool_]]:
    """The regions of a stack with truth; those that are empty are left out."""
    found = {
        "all": np.ones(stack.gap.shape, bool),
        "boundary": stack.boundary,
        "gap": stack.gap,
        "trusted": stack.trust >= TRUSTED,
    }
    return {name: where for name, where in found.items() if where.any()}


def fuse_codes(frames: Sequence[Codes] | Codes, model: VAEEDOF, device: torch.device, precision: str = "auto") -> Codes:
    """The network's fusion of sRGB codes `[N,H,W,3]`, as codes of their type."""
    bits = 8 * frames[0].dtype.itemsize
    fusion = fuse_frames([decode_srgb(frame) for frame in frames], model, device=device, precision=precision)
    return encode_srgb(fusion.image_linear, bits)


@dataclass(frozen=True, kw_only=True)
class Judge:
    """What is judged, on which device, and the learned distance if there is one."""

    models: dict[str, VAEEDOF]
    device: torch.device
    precision: str = "auto"
    lpips: Distance | None = None

    @property
    def fusers(self) -> dict[str, Callable[[Codes], Codes]]:
        """The networks and the classical fusers by name."""
        networks = {name: self._fuser(model) for name, model in self.models.items()}
        return {**networks, **BASELINES}

    def _fuser(self, model: VAEEDOF) -> Callable[[Codes], Codes]:
        return lambda frames: fuse_codes(frames, model, self.device, self.precision)

    @property
    def shown(self) -> tuple[str, ...]:
        """The fusers that a picture shows."""
        return (*list(self.models)[:2], "laplacian-pyramid", "gff")


def checkpoint_names(paths: Sequence[str | Path]) -> list[str]:
    """A name for each network in a table: `vaeedof` for one; file names, or folder names where those are the same."""
    files = [Path(path) for path in paths]
    if len(files) <= 1:
        return [NETWORK]
    for names in ([file.stem for file in files], [file.parent.name for file in files]):
        if len(set(names)) == len(names):
            return names
    return [f"{file.parent.name}/{file.stem}" for file in files]


def _truth_rows(
    name: str, fused: dict[str, Codes], target: Codes, where: dict[str, npt.NDArray[np.bool_]], judge: Judge
) -> Iterator[Row]:
    for fuser, image in fused.items():
        if judge.lpips is not None:
            yield Row(stack=name, fuser=fuser, region="all", metric="LPIPS", value=judge.lpips(image, target))
        similarity = ssim_map(image, target)
        for region, mask in where.items():
            for metric, value in (("PSNR", psnr(image, target, mask)), ("SSIM", float(similarity[mask].mean()))):
                yield Row(stack=name, fuser=fuser, region=region, metric=metric, value=value)


def _worst_place(mask: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """Corner of the CROP_PX window with most of the mask in it."""
    density = cv2.boxFilter(mask.astype(np.float32), -1, (CROP_PX, CROP_PX), borderType=cv2.BORDER_CONSTANT)
    y, x = np.unravel_index(int(density.argmax()), density.shape)
    height, width = mask.shape
    return max(0, min(int(y) - CROP_PX // 2, height - CROP_PX)), max(0, min(int(x) - CROP_PX // 2, width - CROP_PX))


def side_by_side(pictures: dict[str, Codes], y: int, x: int) -> npt.NDArray[np.uint8]:
    """Crops of named pictures next to each other, twice enlarged, with their names, uint8 RGB."""
    tiles = []
    for name, picture in pictures.items():
        crop = picture[y : y + CROP_PX, x : x + CROP_PX]
        codes = crop if crop.dtype == np.uint8 else (crop // 257).astype(np.uint8)
        tile = cv2.resize(np.ascontiguousarray(codes), None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
        for colour, thickness in (((0, 0, 0), 4), ((255, 255, 255), 1)):
            cv2.putText(tile, name, (8, 24), cv2.FONT_HERSHEY_SIMPLEX, 0.7, colour, thickness, cv2.LINE_AA)
        tiles.append(tile)
    strip: npt.NDArray[np.uint8] = np.concatenate(tiles, axis=1).astype(np.uint8)
    return strip


def _write_strip(out: Path, name: str, pictures: dict[str, Codes], y: int, x: int) -> None:
    safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in name)
    path = out / f"{safe}.png"
    if not cv2.imwrite(str(path), side_by_side(pictures, y, x)[..., ::-1]):
        raise UserError(f"{path}: cannot be written", EXIT_IO)


def _frames_named(frames: Sequence[Codes] | Codes) -> dict[str, Codes]:
    return {f"frame {i + 1}": frame for i, frame in enumerate(frames[:3])}


def evaluate_shards(
    dataset: str | Path,
    out: Path,
    judge: Judge,
    *,
    split: str = "test",
    limit: int | None = None,
    degrade: str = "physical",
    report: Report = print,
) -> list[Row]:
    """PSNR and SSIM by region over a split of a dataset, all fusers and the oracle."""
    samples = open_shards(dataset, split)
    rows: list[Row] = []
    count = len(samples) if limit is None else min(limit, len(samples))
    for done in range(count):
        began, index = time.monotonic(), done * len(samples) // count  # they lie photo by photo: spread over all
        name, stack = samples[index].sample_id, whole_stack(samples[index], degrade)
        fused = {name: fuse(stack.frames) for name, fuse in judge.fusers.items()}
        fused[ORACLE] = selection_oracle(stack.frames, stack.target)
        where = regions(stack)
        rows += _truth_rows(name, fused, stack.target, where, judge)
        shown = {k: fused[k] for k in judge.shown}
        place = _worst_place(stack.gap if stack.gap.any() and done % 2 else stack.boundary)
        _write_strip(out, name, {**_frames_named(stack.frames), **shown, "truth": stack.target}, *place)
        report(f"{name}: {done + 1} of {count}, {time.monotonic() - began:.1f} s")
    return rows


def evaluate_files(
    stacks: Sequence[StackFiles],
    out: Path,
    judge: Judge,
    *,
    align: str = "none",
    report: Report = print,
) -> list[Row]:
    """The 17 fusion metrics of every fuser on stacks of files, and PSNR and SSIM where there is truth.

    A stack that cannot be read or aligned is left out and said.
    """
    rows: list[Row] = []
    for files in stacks:
        try:
            rows += _file_rows(files, out, judge, align, report)
        except UserError as error:
            if error.exit_code == EXIT_IO:
                raise
            report(f"{files.name}: left out: {error}")
    if not rows:
        raise UserError(f"none of {len(stacks)} stacks could be judged")
    return rows


def _file_rows(files: StackFiles, out: Path, judge: Judge, align: str, report: Report) -> list[Row]:
    rows: list[Row] = []
    read = read_stack(files.frames, report)
    names = [path.name for path in files.frames]
    linear = read.frames if align == "none" else align_stack(read.frames, align, names)[0]
    frames = np.stack([encode_srgb(frame, 8) for frame in linear])
    fused = {name: fuse(frames) for name, fuse in judge.fusers.items()}
    greys = [to_grey(frame) for frame in frames]
    if min(greys[0].shape) >= MIN_SIDE_PX:
        for fuser, image in fused.items():
            for metric, value in fusion_metrics(greys, to_grey(image)).items():
                rows.append(Row(stack=files.name, fuser=fuser, region="all", metric=metric, value=value))
    else:
        report(f"{files.name}: fusion metrics left out: they need {MIN_SIDE_PX} px a side")
    pictures = {**_frames_named(frames), **{k: fused[k] for k in judge.shown}}
    if files.truth is not None:
        truth = encode_srgb(read_stack([files.truth], report).frames[0], 8)
        if truth.shape != frames[0].shape:
            raise UserError(f"{files.truth.name}: the true image has another size than the frames")
        fused[ORACLE] = selection_oracle(frames, truth)
        rows += _truth_rows(files.name, fused, truth, {"all": np.ones(truth.shape[:2], bool)}, judge)
        pictures["truth"] = truth
    contrast = np.abs(frames[0].astype(np.float32) - frames[-1]).mean(-1)
    _write_strip(out, files.name, pictures, *_worst_place(contrast > np.quantile(contrast, 0.95)))
    report(f"{files.name}: {len(frames)} frames of {frames.shape[2]} x {frames.shape[1]} px")
    return rows


def evaluate_folder(
    folder: str | Path,
    out: str | Path,
    *,
    checkpoint: str | Path | Sequence[str | Path] | None = None,
    split: str = "test",
    align: str = "none",
    degrade: str = "physical",
    device: str = "auto",
    precision: str = "auto",
    limit: int | None = None,
    report: Report = print,
) -> Evaluation:
    """Judge the network at `checkpoint` (None: the package's) on a dataset of shards or a folder of stacks.

    Several checkpoints stand side by side. Writes `figures.csv` (a row a figure), `table.md` (means) and a picture a
    stack into `out`. UserError if `folder` holds neither shards nor stacks, or a checkpoint is none of VAEEDOF.
    """
    if align not in ALIGNMENTS:
        raise UserError(f"--align {align}: not known; use {', '.join(ALIGNMENTS)}")
    folder, out, chosen = Path(folder), Path(out), choose_device(device)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    paths = [checkpoint] if isinstance(checkpoint, str | Path) else list(checkpoint or [])
    networks = [load_fuser(path) for path in paths] or [load_fuser(None)]
    models = dict(zip(checkpoint_names(paths), networks, strict=True))
    lpips = find_lpips()
    if isinstance(lpips, str):
        report(lpips)
    judge = Judge(models=models, device=chosen, precision=precision, lpips=None if isinstance(lpips, str) else lpips)
    out.mkdir(parents=True, exist_ok=True)
    if find_shards(folder):
        if align != "none":
            report(f"--align {align} is for folders of files; the frames of shards lie in place and stay so")
        rows = evaluate_shards(folder, out, judge, split=split, limit=limit, degrade=degrade, report=report)
    else:
        found = find_stacks(folder, report)[:limit]
        rows = evaluate_files(found, out, judge, align=align, report=report)
    with (out / "figures.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["stack", "fuser", "region", "metric", "value"])
        writer.writerows([row.stack, row.fuser, row.region, row.metric, f"{row.value:.6g}"] for row in rows)
    table = "\n\n".join(part for part in (markdown_table(rows), wins_table(rows, list(models))) if part)
    (out / "table.md").write_text(table + "\n", encoding="utf-8")
    report(table)
    return Evaluation(rows=rows, table=table)
