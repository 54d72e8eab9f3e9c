"""Names and texts from data, made safe for Markdown, YAML and CSV, with credentials taken out of addresses."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from urllib.parse import urlsplit

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!|~$])")
_REDACTED_KEYS = re.compile(r"(?i)\b(token|key|signature|sig|secret|password|passwd|access_token)=[^&\s]*")


def printable(text: str) -> str:
    """The text on one line: everything that is not printable becomes a space, runs of spaces one."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def markdown(text: str) -> str:
    """The text as it reads, inside a Markdown line or table cell: no markup, no HTML, no automatic link."""
    shown = printable(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    shown = _MARKDOWN.sub(r"\\\1", shown)
    return re.sub(r"(?i)\b(https?|ftp):(?=//)|\bwww(?=\.)", lambda match: f"{match[0]}&#8203;", shown)


def yaml_text(text: str) -> str:
    """The text as a double-quoted YAML scalar on one line."""
    return json.dumps(printable(text), ensure_ascii=False)


def csv_cell(text: str) -> str:
    """The text for a CSV cell; one that a spreadsheet would run as a formula gets a quote mark in front."""
    shown = printable(text)
    return f"'{shown}" if shown[:1] in ("=", "+", "-", "@") else shown


def csv_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows of safe cells as CSV text."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(head)
    writer.writerows([csv_cell(cell) for cell in row] for row in rows)
    return stream.getvalue()


def redacted(address: str) -> str:
    """An address, or a text with addresses in it, without users, passwords and secret parameters."""
    address = re.sub(r"//[^/\s]*@", "//", address)
    return _REDACTED_KEYS.sub(lambda match: f"{match[1]}=removed", address)


def link(address: str) -> str:
    """A Markdown link to a web address, plain escaped text for anything else."""
    clean = printable(redacted(address))
    if re.fullmatch(r"https?://[^\s<>()\[\]\"'`\\|]+", clean):
        return f"[{markdown(urlsplit(clean).netloc)}]({clean})"
    return markdown(clean)
