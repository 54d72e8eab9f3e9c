"""Contact sheets exist for every shape of sample, show what they say, and keep to their folder."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageFont

from mattingmfif.dataset import report
from mattingmfif.dataset.engines import open_workers
from mattingmfif.dataset.index import _in_turn
from mattingmfif.dataset.reader import open_shards
from mattingmfif.dataset.report import _COLUMNS, SheetTask, _fitted, contact_sheet, metres, write_previews, write_sheet
from mattingmfif.dataset.workers import Engine
from mattingmfif.errors import EXIT_FAULTS, UserError


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


def by_workers(work, tasks):
    with open_workers(Engine(jobs=2)) as workers:
        yield from _in_turn(work, tasks, workers)


@pytest.mark.parametrize("in_turn", [map, by_workers])
def test_a_damaged_shard_costs_its_own_sheets_and_is_one_line(tmp_path, make_record, put_shard, in_turn):
    names = [f"train-0000{k}-of-00003.parquet" for k in range(3)]
    for k, name in enumerate(names):
        put_shard(tmp_path, [make_record(seed=k)], name)
    shards = [tmp_path / "data" / name for name in names]
    samples = [sample.sample_id for sample in open_shards(tmp_path)]
    content = bytearray(shards[0].read_bytes())
    content[len(content) // 4 : len(content) // 2] = bytes(len(content) // 2 - len(content) // 4)
    shards[0].write_bytes(content)
    before = [shard.read_bytes() for shard in shards]
    with pytest.raises(UserError, match=r"^train-00000-of-00003\.parquet, row 0, \w+: damaged") as caught:
        write_previews(tmp_path, in_turn=in_turn)
    assert caught.value.exit_code == EXIT_FAULTS
    assert {path.stem for path in (tmp_path / "previews").iterdir()} == set(samples[1:])
    assert [shard.read_bytes() for shard in shards] == before


@pytest.mark.parametrize("in_turn", [map, by_workers])
def test_a_sheet_that_cannot_be_written_is_an_error_of_the_disk(tmp_path, make_record, put_shard, in_turn):
    put_shard(tmp_path, [make_record(seed=k) for k in range(2)])
    first, second = [sample.sample_id for sample in open_shards(tmp_path)]
    (tmp_path / "previews" / f"{first}.jpg").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        write_previews(tmp_path, in_turn=in_turn)
    assert (tmp_path / "previews" / f"{second}.jpg").is_file()


def test_a_sheet_never_raises(tmp_path, make_record, put_shard, monkeypatch):
    put_shard(tmp_path, [make_record()])
    task = SheetTask(file=open_shards(tmp_path).files[0], row=0, folder=tmp_path)
    assert write_sheet(task) is None

    def senseless(sample):
        raise ZeroDivisionError("no\nwidth")

    monkeypatch.setattr(report, "contact_sheet", senseless)
    error = write_sheet(task)
    assert isinstance(error, UserError)
    assert str(error).endswith("row 0: no contact sheet can be made (ZeroDivisionError: no width)")


def test_long_and_odd_names_are_cut_and_cleaned():
    font = ImageFont.load_default(14)
    text = _fitted("a\nb\x1b[31m" + "ü" * 1000, font, 300)
    assert font.getlength(text) <= 300
    assert text.endswith("...")
    assert text.isprintable()
    assert (metres(0.8001), metres(float("inf")), metres(12.345)) == ("0.8 m", "inf", "12.3 m")
