"""Figures of an evaluation as tables: means over stacks, and on how many stacks a network is ahead."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mattingmfif.vaeedof.baselines import BASELINES
from mattingmfif.vaeedof.metrics import FUSION_METRICS

REGIONS = ("all", "boundary", "gap", "trusted")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure: a stack, a fuser, a region, a metric."""

    stack: str
    fuser: str
    region: str
    metric: str
    value: float


def means(rows: Sequence[Row]) -> dict[tuple[str, str], dict[str, float]]:
    """(metric, region) to fuser to the mean over stacks; infinite PSNR (nothing wrong) counts as 100 dB."""
    collected: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if not np.isnan(row.value):
            collected[row.metric, row.region][row.fuser].append(
                min(row.value, 100.0) if row.metric == "PSNR" else row.value
            )
    return {key: {fuser: float(np.mean(v)) for fuser, v in values.items()} for key, values in collected.items()}


def markdown_table(rows: Sequence[Row]) -> str:
    """Means as a Markdown table: a line a fuser, a column a metric and region."""
    found = means(rows)
    order = {name: k for k, name in enumerate(("PSNR", "SSIM", "LPIPS", *FUSION_METRICS))}
    columns = sorted(found, key=lambda key: (order[key[0]], REGIONS.index(key[1])))
    fusers = list(dict.fromkeys(row.fuser for row in rows))
    titles = [metric if metric in (*FUSION_METRICS, "LPIPS") else f"{metric} {region}" for metric, region in columns]
    lines = ["| fuser | " + " | ".join(titles) + " |", "|---" * (len(columns) + 1) + "|"]
    for fuser in fusers:
        cells = []
        for key in columns:
            value = found[key].get(fuser)
            cells.append("-" if value is None else f"{value:.2f}" if key[0] == "PSNR" else f"{value:.4f}")
        lines.append(f"| {fuser} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def wins_table(rows: Sequence[Row], networks: Sequence[str]) -> str:
    """On how many stacks each network has the greater PSNR and SSIM than each classical fuser, by region, in Markdown.

    Empty for stacks without truth.
    """
    values = {(row.metric, row.region, row.fuser, row.stack): row.value for row in rows}
    stacks = list(dict.fromkeys(row.stack for row in rows))
    columns = [
        (metric, region)
        for metric in ("PSNR", "SSIM")
        for region in REGIONS
        if any((metric, region, name, stack) in values for name in networks for stack in stacks)
    ]
    if not columns:
        return ""
    titles = " | ".join(f"{metric} {region}" for metric, region in columns)
    lines = [f"| stacks on which a network is ahead | {titles} |", "|---" * (len(columns) + 1) + "|"]
    for name in networks:
        for other in BASELINES:
            cells = []
            for column in columns:
                pairs = [(values.get((*column, name, k)), values.get((*column, other, k))) for k in stacks]
                known = [(a, b) for a, b in pairs if a is not None and b is not None]
                cells.append(f"{sum(a > b for a, b in known)} of {len(known)}")
            lines.append(f"| {name} before {other} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
