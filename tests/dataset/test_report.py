"""Contact sheets exist for every shape of sample, show what they say, and keep to their folder."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageFont

from mattingmfif.dataset.reader import open_shards
from mattingmfif.dataset.report import _COLUMNS, _fitted, contact_sheet, metres, write_previews


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bits": 16, "height": 140, "width": 60},
        {"height": 20, "width": 400, "distances_m": (np.inf,), "focus_m": (2.0, 3.0)},
        {"distances_m": (0.5, 0.7, 1.0, 1.5, 3.0, 6.0, np.inf), "focus_m": (0.5, 0.7, 1.0, 1.5, 3.0, 6.0, 100.0)},
    ],
    ids=str,
)
def test_a_sheet_has_a_panel_for_target_maps_and_every_frame(tmp_path, make_record, put_shard, options):
    record = make_record(**options)
    put_shard(tmp_path, [record])
    sheet = contact_sheet(open_shards(tmp_path)[0])
    assert sheet.mode == "RGB"
    assert sheet.width == 1990
    panels = 8 + len(record.frames)
    row_height = (sheet.height - 62 - 14) / -(-panels // _COLUMNS)
    assert row_height == int(row_height)


def test_the_target_panel_shows_the_target_and_an_invented_region_is_dark_in_the_trust_panels(
    tmp_path, make_record, put_shard
):
    record = make_record(height=320, width=480, focus_m=(1.0, 4.0))
    trust = [map_.copy() for map_ in record.frame_trust]
    trust[1][:160] = 0
    red = np.zeros_like(record.all_in_focus)
    red[..., 0] = 250
    put_shard(tmp_path, [dataclasses.replace(record, frame_trust=trust, all_in_focus=red)])
    sheet = np.asarray(contact_sheet(open_shards(tmp_path)[0]))
    top, left, step = 62 + 14, 14, 480 + 14
    np.testing.assert_array_equal(sheet[top + 5 : top + 300, left + 5 : left + 470], red[5:300, 5:470])
    second_row = top + 320 + 46 + 14
    least = sheet[second_row : second_row + 320, left + 2 * step : left + 2 * step + 480]
    assert (least[5:150, 5:470] == 0).all()
    assert (least[170:310, 5:470] == 255).all()


def test_previews_are_written_by_sample_id_and_limited(tmp_path, make_record, put_shard):
    put_shard(tmp_path, [make_record(seed=k) for k in range(4)])
    seen = []
    paths = write_previews(tmp_path, limit=2, on_preview=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]
    assert sorted(path.name for path in (tmp_path / "previews").iterdir()) == sorted(path.name for path in paths)
    assert paths == sorted(paths)
    first = paths[0].read_bytes()
    assert Pillow.open(paths[0]).size[0] == 1990
    assert write_previews(tmp_path, limit=2) == paths
    assert paths[0].read_bytes() == first


def test_long_and_odd_names_are_cut_and_cleaned():
    font = ImageFont.load_default(14)
    text = _fitted("a\nb\x1b[31m" + "ü" * 1000, font, 300)
    assert font.getlength(text) <= 300
    assert text.endswith("...")
    assert text.isprintable()
    assert (metres(0.8001), metres(float("inf")), metres(12.345)) == ("0.8 m", "inf", "12.3 m")
