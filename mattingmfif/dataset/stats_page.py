"""The distributions of a dataset as one HTML page with plots and pictures, complete in itself: it asks no network."""

from __future__ import annotations

import base64
from html import escape
from pathlib import Path

from mattingmfif.dataset.describe import spread_choice
from mattingmfif.dataset.escape import printable
from mattingmfif.dataset.reader import Sample, Shards
from mattingmfif.dataset.stats import Distribution, Stats
from mattingmfif.dataset.whole_files import write_whole

#: pictures on the page, each some tens of kilobytes
PICTURES = 12
#: a preview larger than this is no preview
_MAX_PREVIEW_BYTES = 4_000_000

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #1d2129; background: #fff; max-width: 1120px; margin: 2em auto;
  padding: 0 1em; }
h1 { font-size: 1.5em; margin-bottom: 0; } h2 { font-size: 1.15em; margin-top: 2em; }
.about, figcaption, .of { color: #5b6472; } .of { font-size: .85em; margin: 0 0 .4em; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(330px, 1fr)); gap: 1.6em 2em; }
.charts h3 { font-size: 1em; margin: 0; } svg { width: 100%; height: auto; display: block; }
svg text { font: 12px system-ui, sans-serif; fill: #1d2129; } svg .share { fill: #5b6472; }
figure { margin: 0 0 1.4em; } figure img { width: 100%; height: auto; display: block; border: 1px solid #d7dbe0; }
figcaption { font-size: .85em; overflow-wrap: anywhere; }
@media (prefers-color-scheme: dark) { body { background: #15181d; color: #e4e7eb; } svg text { fill: #e4e7eb; }
  .about, figcaption, .of, svg .share { color: #9aa4b2; fill: #9aa4b2; } figure img { border-color: #333a44; } }
"""
_BAR = "#3d7ea6"


def page(shards: Shards, stats: Stats, title: str) -> str:
    """The page as text; every name from data is escaped."""
    charts = "\n".join(_chart(item) for item in stats.distributions)
    chosen = [shards[index] for index in spread_choice(shards, PICTURES)]
    pictures = "\n".join(figure for figure in map(_figure, chosen) if figure)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{_text(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{_text(title)}</h1>
<p class="about">{stats.samples} samples, {stats.frames} frames; pixels measured on {stats.measured} samples.</p>
<h2>Distributions</h2>
<div class="charts">
{charts}
</div>
<h2>Samples</h2>
<p class="about">Target first, then the frames, nearest focus first.</p>
{pictures}
</body>
</html>
"""


def write_page(path: Path, shards: Shards, stats: Stats, title: str) -> Path:
    """Write the page whole or not at all and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, page(shards, stats, title).encode())
    return path


def _chart(item: Distribution) -> str:
    row, left, right = 20, 118, 58
    width, most = 360, max(item.shares) or 1.0
    bars = []
    for k, (label, share) in enumerate(zip(item.labels, item.shares, strict=True)):
        y, length = k * row, (width - left - right) * share / most
        short = label if len(label) <= 17 else label[:16] + "…"
        bars.append(
            f"<g><title>{_text(label)}: {100 * share:.2f} %</title>"
            f'<text x="{left - 6}" y="{y + 14}" text-anchor="end">{_text(short)}</text>'
            f'<rect x="{left}" y="{y + 3}" width="{length:.1f}" height="{row - 6}" fill="{_BAR}"/>'
            f'<text class="share" x="{left + length + 5:.1f}" y="{y + 14}">{100 * share:.1f} %</text></g>'
        )
    title, box = _text(item.title), f"0 0 {width} {row * len(item.labels)}"
    return (
        f'<section><h3>{title}</h3><p class="of">{_text(item.of)}</p>'
        f'<svg viewBox="{box}" role="img" aria-label="{title}">{"".join(bars)}</svg></section>'
    )


def _figure(sample: Sample) -> str:
    span = sample.file.span(sample.row, "preview")
    if span is None or span[1] > _MAX_PREVIEW_BYTES:
        return ""
    picture = base64.b64encode(sample.file.read(*span)).decode()
    height, width = sample.size
    sources = "; ".join(f"{source.path} ({source.licence})" for source in sample.sources)
    focus = ", ".join(f"{distance:.3g}" for distance in sample.focus_distance_m)
    words = f"{sample.sample_id}, {sample.split}, {width} x {height} px, focus at {focus} m. Sources: {sources}"
    return (
        f'<figure><img src="data:image/jpeg;base64,{picture}" alt="{_text(sample.sample_id)}" loading="lazy">'
        f"<figcaption>{_text(words)}</figcaption></figure>"
    )


def _text(text: str) -> str:
    return escape(printable(text), quote=True)
