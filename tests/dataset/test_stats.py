"""Distributions are those of the maps by their plain definitions; the page holds itself together and escapes names."""

from __future__ import annotations

import dataclasses
import html.parser
import re

import numpy as np
import pytest

from mattingmfif.dataset.reader import open_shards
from mattingmfif.dataset.sample import SourceRecord
from mattingmfif.dataset.stats import as_text, measure
from mattingmfif.dataset.stats_page import page

EVIL = SourceRecord(path='<script>alert("x")</script>.jpg', sha256="2" * 64, licence='"><img src=http://evil/x>')


@pytest.fixture(scope="module")
def shards(tmp_path_factory, make_record, put_shard):
    out = tmp_path_factory.mktemp("stats")
    size = {"height": 96, "width": 128}
    records = [
        make_record(seed=0, distances_m=(1.0, 3.0), focus_m=(1.0, 2.0), **size),
        make_record(seed=1, distances_m=(np.inf,), focus_m=(3.0, 50.0), **size),
        dataclasses.replace(make_record(seed=2, focus_m=(1.0, 2.0, 4.0), **size), sources=[EVIL], licence=EVIL.licence),
    ]
    put_shard(out, records)
    return open_shards(out)


@pytest.fixture(scope="module")
def measured(shards):
    return {item.title: dict(zip(item.labels, item.shares, strict=True)) for item in measure(shards).distributions}


def test_every_distribution_sums_to_one(measured):
    for title, shares in measured.items():
        assert sum(shares.values()) == pytest.approx(1.0), title


def test_depth_and_blur_are_counted_by_their_definition(shards, measured):
    grid = np.s_[::4, ::4]
    near = np.mean([np.mean((s.depth_m[grid] >= 1) & (s.depth_m[grid] < 2)) for s in shards])
    assert measured["Depth"]["1 to 2 m"] == pytest.approx(near)
    far = np.mean([np.mean(s.depth_m[grid] >= 32) for s in shards])
    assert measured["Depth"]["32 m and more"] == pytest.approx(far)
    assert far > 0.3
    sharp = [np.mean([np.mean(np.abs(s.blur_radius_px(k)[grid]) < 0.25) for k in range(s.n_frames)]) for s in shards]
    assert measured["Blur radius"]["0 to 0.25 px"] == pytest.approx(np.mean(sharp))


def test_shares_by_sample_and_counts_are_those_of_the_records(shards, measured):
    gap = [np.mean(s.sharpest_frame == 255) for s in shards]
    full = sum(share >= 0.9 for share in gap) / 3
    assert measured["Gap: sharp in no frame"]["90 to 100 %"] == pytest.approx(full)
    index = [s.sharpest_frame[::4, ::4] for s in shards]
    assert measured["Sharpest frame"]["frame 1"] == pytest.approx(np.mean([np.mean(i == 1) for i in index]))
    assert measured["Sharpest frame"]["none (gap)"] == pytest.approx(np.mean([np.mean(i == 255) for i in index]))
    assert measured["Frames a stack"] == {"2": pytest.approx(2 / 3), "3": pytest.approx(1 / 3)}
    assert measured["Layers a scene"] == {"1": pytest.approx(1 / 3), "2": pytest.approx(2 / 3)}
    assert measured["f-number"] == {"f/2.8": 1.0}
    covered = [float(1 - np.prod(1 - s.alphas[:, ::4, ::4], axis=0).mean()) if len(s.alphas) else 0.0 for s in shards]
    assert sum(10 <= 100 * share < 20 for share in covered) / 3 == pytest.approx(
        measured["Covered by subjects"]["10 to 20 %"]
    )


def test_the_text_shows_each_class_with_its_share(shards):
    text = as_text(measure(shards, samples=2))
    assert text.startswith("3 samples, 7 frames; pixels measured on 2 samples\n")
    assert re.search(r"Frames a stack \(of the samples\)\n  2   66\.7 %  #{32}\n  3   33\.3 %  #{16}\n", text)


class Tags(html.parser.HTMLParser):
    """Collects tags with their attributes, and complains of what is not closed."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open = [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "rect"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag != "rect":
            assert self.open.pop() == tag


def test_the_page_needs_no_network_and_escapes_what_comes_from_data(shards):
    text = page(shards, measure(shards), 'set <b>"one"</b>')
    tags = Tags(text).tags
    assert not [tag for tag, _ in tags if tag in ("script", "link", "iframe", "object", "b")]
    sources = [attrs["src"] for tag, attrs in tags if tag == "img"]
    assert len(sources) == 3
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert "default-src 'none'" in text
    assert "&lt;script&gt;" in text
    assert sum(tag == "svg" for tag, _ in tags) == 15


def test_the_command_prints_text_and_writes_the_page(shards, mattingmfif, tmp_path):
    out = shards.files[0].path.parents[1]
    done = mattingmfif("stats", out, "--page", tmp_path / "p" / "stats.html", "--samples", 2)
    assert done.returncode == 0, done.stderr
    assert "Blur radius (of the pixels of all frames)" in done.stdout
    assert (tmp_path / "p" / "stats.html").read_text().startswith("<!DOCTYPE html>")
