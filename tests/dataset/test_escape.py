"""Names from data cannot become markup, links, formulas or YAML; credentials never pass."""

from __future__ import annotations

import re

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mattingmfif.dataset.escape import csv_cell, link, markdown, printable, redacted, yaml_text


@pytest.mark.parametrize(
    "text",
    ["<script>alert(1)</script>", "a | b", "[x](http://y)", "`code`", "a\n# heading", "https://x.y", "&lt;", "**b**"],
)
def test_markdown_shows_a_text_and_never_obeys_it(text):
    shown = markdown(text)
    assert "\n" not in shown
    assert "<" not in shown
    assert not re.search(r"(?<!\\)[|`*\[\]()_#]", shown.replace("&#8203;", ""))
    assert "://" not in shown.replace(":&#8203;", "") or not shown.startswith("http")


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_yaml_reads_the_printable_text_back(text):
    line = yaml_text(text)
    assert "\n" not in line
    assert yaml.safe_load(f"name: {line}") == {"name": printable(text)}


@pytest.mark.parametrize("text", ["=1+1", "+cmd", "-2", "@x"])
def test_a_spreadsheet_runs_nothing(text):
    assert csv_cell(text) == f"'{text}"
    assert csv_cell("plain, text") == "plain, text"


@pytest.mark.parametrize(
    ("address", "clean"),
    [
        ("https://user:secret@example.org/a?x=1", "https://example.org/a?x=1"),
        ("s3://KEY:SECRET@bucket/path", "s3://bucket/path"),
        ("https://example.org/a?token=abc&x=1", "https://example.org/a?token=removed&x=1"),
        ("https://example.org/a?X-Amz-Signature=abc", "https://example.org/a?X-Amz-Signature=removed"),
        ("https://user:p@ss@example.org", "https://example.org"),
        ("http://[bad:secret@host/", "http://host/"),
        ("mail me at ann@example.org", "mail me at ann@example.org"),
    ],
)
def test_credentials_are_taken_out_of_addresses(address, clean):
    assert redacted(address) == clean


def test_only_web_addresses_become_links():
    assert link("https://example.org/a_b") == "[example.org](https://example.org/a_b)"
    for text in ("javascript:alert(1)", "https://x.y/)[z](http://w", "file:///etc/passwd", "https://a b"):
        assert "](" not in link(text).replace("\\]\\(", "")
