"""`verify OUT`, with samples made again from the photographs when asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mattingmfif.dataset.inputs import Inputs
from mattingmfif.dataset.make import make_sample
from mattingmfif.dataset.plan import read_plan
from mattingmfif.dataset.planning import plan_of
from mattingmfif.dataset.remote import mirrored
from mattingmfif.dataset.sample import SampleRecord
from mattingmfif.dataset.threads import one_thread
from mattingmfif.dataset.verify import VerifyReport, verify
from mattingmfif.errors import UserError


def check_folder(
    out: Path | str,
    rerender: int = 0,
    src: Path | str | None = None,
    mattes: Path | str | None = None,
    depth: Path | str | None = None,
    depth_model: Path | None = None,
    splits_of: Path | str | None = None,
    rembg_weights: Path | None = None,
    on_sample: Callable[[int, int], None] | None = None,
) -> VerifyReport:
    """The report on a dataset folder; `rerender` samples are made again from the photographs in `src`.

    The shards of a remote folder are fetched one by one. Raises UserError where there is nothing to look at, or no
    photographs to make samples from.
    """
    if isinstance(out, Path) and not out.is_dir():
        raise UserError(f"{out}: no such folder")
    if rerender and src is None:
        raise UserError("--rerender: needs --src, the folder of the photographs (and --mattes, --depth as in `build`)")
    if rerender and isinstance(src, Path) and not src.is_dir():
        raise UserError(f"--src {src}: no such folder")
    with mirrored(out) as mirror:
        make = None
        if rerender and src is not None:
            weights = {"depth_model": depth_model, "rembg_weights": rembg_weights}
            make = _maker(mirror.folder, Inputs(src=src, mattes=mattes, depth=depth, **weights))
        earlier = None if splits_of is None else plan_of(splits_of)
        return verify(mirror, rerender=rerender, rerender_sample=make, on_sample=on_sample, earlier=earlier)


def _maker(out: Path, inputs: Inputs) -> Callable[[str], SampleRecord]:
    plan = read_plan(out)
    if plan is None:
        raise UserError(f"{out}: no plan.json, so its samples cannot be made again")
    by_id = {sample.sample_id: sample for sample in plan.samples}

    def make(sample_id: str) -> SampleRecord:
        sample = by_id[sample_id]
        with inputs.at_hand(plan.sources[index].path for index in sample.sources) as here, one_thread():
            return make_sample(plan, sample, here)

    return make
