"""`scan`: every photograph with its scores, its matte and its verdict, as lines of text and as a page to look at.

The page is a folder: index.html and its pictures. It opens without a network, and holds no name from data unescaped.
Photographs whose scores lie nearest to a threshold come first: those are the ones that a person may want to overrule.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from mattingmfif.dataset.engines import run_tasks
from mattingmfif.dataset.escape import printable
from mattingmfif.dataset.judge import Judgement, JudgeTask, Score, judge
from mattingmfif.dataset.planning import Progress, Request, Tell, photos_and_inputs, resolved, scan_tasks
from mattingmfif.dataset.whole_files import write_whole
from mattingmfif.dataset.workers import Workers
from mattingmfif.errors import UserError
from mattingmfif.photo.overrides import OVERRIDES_FILE

PICTURE_FOLDER = "pictures"
_MARK = ".mattingmfif-scan"

_STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 2em auto; max-width: 1500px; padding: 0 1em; color: #222 }
section { border-top: 1px solid #ccc; padding: 1em 0 }
h2 { font-size: 1.1em; margin: 0 0 .3em; overflow-wrap: anywhere }
.kept { color: #186a2c } .refused { color: #a1261c }
figure { display: inline-block; margin: .3em .6em .3em 0; vertical-align: top }
figure img { display: block; max-width: 360px; border: 1px solid #bbb }
figcaption { font-size: .85em; color: #555 }
table { border-collapse: collapse; font-size: .88em; margin: .4em 0 }
td, th { padding: .1em .8em .1em 0; text-align: left }
.failed { color: #a1261c; font-weight: 600 }
code { background: #f1f1f1; padding: .1em .3em; overflow-wrap: anywhere; white-space: pre-wrap }
"""


def scan_photos(request: Request, workers: Workers, tell: Tell, layers: bool = False) -> list[Judgement]:
    """Judgements on all photographs of a request, those nearest to a threshold first."""
    request = resolved(request)
    paths, inputs = photos_and_inputs(request)
    tasks = [JudgeTask(scan=task, layers=layers) for task in scan_tasks(request, paths, inputs)]
    found: list[Judgement] = []
    for done, outcome in enumerate(run_tasks(judge, tasks, workers), start=1):
        if outcome.died:
            path = tasks[outcome.index].scan.path
            raise UserError(f"{path}: its worker process died over it; out of memory?")
        found.append(outcome.result)
        tell(Progress(stage="scan", done=done, total=len(tasks), unit="photos"))
    return sorted(found, key=lambda item: (item.closeness, item.path))


def lines(judgements: Sequence[Judgement]) -> Iterator[str]:
    """One line a photograph: verdict, name, reason and the score nearest to its threshold."""
    for item in judgements:
        nearest = min(item.scores, key=lambda score: score.distance, default=None)
        close = f"; nearest to a threshold: {_score(nearest)}" if nearest else ""
        why = f": {item.reason}: {item.detail}" if item.reason else (f": {item.detail}" if item.detail else "")
        by = f" ({OVERRIDES_FILE}: {item.override.verdict})" if item.override else ""
        subjects = f", {item.subjects} subjects" if item.kept else ""
        yield printable(f"{_verdict(item)}{by} {item.path}{subjects}{why}{close}")


def write_page(judgements: Sequence[Judgement], folder: Path) -> Path:
    """Write the page into `folder` (new, empty, or an earlier page) and return the path of index.html.

    Raises UserError for a folder that holds something else.
    """
    _claim(folder)
    pictures = folder / PICTURE_FOLDER
    pictures.mkdir(exist_ok=True)
    for old in pictures.glob("*.jpg"):
        old.unlink()
    sections = []
    for number, item in enumerate(judgements):
        names = []
        for place, picture in enumerate(item.pictures):
            name = f"{number:05d}-{place:02d}.jpg"  # never a name from data
            (pictures / name).write_bytes(picture.jpeg)
            names.append(name)
        sections.append(_section(item, names))
    kept = sum(item.kept for item in judgements)
    page = f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{len(judgements)} photographs</title><style>{_STYLE}</style></head>
<body><h1>{len(judgements)} photographs, {kept} kept</h1>
<p>Those whose scores lie nearest to a threshold come first. To overrule a verdict, write a line such as the one under
the photograph into <code>{OVERRIDES_FILE}</code> beside the photographs; its first line is
<code>path,verdict,note</code>. <code>build</code>, <code>plan</code> and <code>scan</code> follow it.</p>
{"".join(sections)}</body></html>
"""
    write_whole(folder / "index.html", page.encode())
    return folder / "index.html"


def _claim(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        others = [] if (folder / _MARK).exists() else [item.name for item in folder.iterdir()]
    except (FileExistsError, NotADirectoryError):
        raise UserError(f"--out {folder}: is a file, not a folder") from None
    if others:
        raise UserError(f"--out {folder}: holds {sorted(others)[0]!r} and is no page of `scan`; give a new folder")
    (folder / _MARK).touch()


def _verdict(item: Judgement) -> str:
    return "kept" if item.kept else "refused"


def _score(score: Score) -> str:
    sense = "at most" if score.upper else "at least"
    return f"{score.name} {score.value:.3g} ({sense} {score.threshold:.3g})"


def _section(item: Judgement, names: Sequence[str]) -> str:
    verdict = _verdict(item)
    why = ": ".join(part for part in (item.reason, item.detail) if part)
    said = f" by {OVERRIDES_FILE}: {item.override.note or 'no note'}" if item.override else ""
    figures = "".join(
        f'<figure><a href="{PICTURE_FOLDER}/{name}"><img src="{PICTURE_FOLDER}/{name}" alt="" loading="lazy"></a>'
        f"<figcaption>{escape(picture.caption)}</figcaption></figure>"
        for name, picture in zip(names, item.pictures, strict=True)
    )
    rows = "".join(
        f"<tr{'' if score.passed else ' class=failed'}><td>{escape(score.name)}</td><td>{score.value:.3g}</td>"
        f"<td>{'at most' if score.upper else 'at least'} {score.threshold:.3g}</td></tr>"
        for score in sorted(item.scores, key=lambda score: score.distance)
    )
    other = ""
    if item.reason != "bad-name":  # no line of a text file can name it
        other = f"<p><code>{escape(_csv_line(item.path, 'refuse' if item.kept else 'keep'))}</code></p>"
    return (
        f'<section><h2><span class="{verdict}">{verdict}{escape(said)}</span> {escape(printable(item.path))}</h2>'
        f"<p>{escape(printable(why))}</p>{figures}<table>{rows}</table>{other}</section>\n"
    )


def _csv_line(path: str, verdict: str) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="").writerow([path, verdict, ""])
    return stream.getvalue()
