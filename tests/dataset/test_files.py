"""Shards are read at offsets from a disk or an address; few files are open at once; nothing secret is shown."""

from __future__ import annotations

import pickle
import threading
from pathlib import Path

import numpy as np
import pytest

from mattingmfif.dataset import files
from mattingmfif.dataset.reader import open_shards
from mattingmfif.dataset.shard_file import ShardFile
from mattingmfif.errors import UserError


def test_bytes_come_back_at_any_offset_also_after_closing_and_in_another_process(tmp_path):
    path = tmp_path / "a.bin"
    data = np.random.default_rng(0).bytes(5000)
    path.write_bytes(data)
    file = files.ByteFile(path)
    assert (file.size_bytes, file.name) == (5000, "a.bin")
    assert file.read(17, 100) == data[17:117]
    file.close()
    assert pickle.loads(pickle.dumps(file)).read(4000, 1000) == file.read(4000, 1000) == data[4000:]
    with pytest.raises(OSError, match="ends 1 bytes too early"):
        file.read(4000, 1001)
    with pytest.raises(OSError, match="No such file"):
        files.ByteFile(tmp_path / "b.bin")


def test_few_files_stay_open_and_all_stay_readable(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MOST_OPEN", 5)
    opened = []
    for k in range(40):
        path = tmp_path / f"{k}.bin"
        path.write_bytes(bytes([k]) * 10)
        opened.append(files.ByteFile(path))
    opened_now = [link for link in Path("/proc/self/fd").iterdir() if tmp_path in target_of(link).parents]
    assert len(opened_now) <= 5
    assert [file.read(3, 1)[0] for file in opened] == list(range(40))


def target_of(link):
    try:
        return link.readlink()
    except OSError:  # closed since it was listed
        return Path()


def test_threads_read_from_one_file_while_handles_come_and_go(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MOST_OPEN", 1)
    opened = []
    for k in range(3):
        path = tmp_path / f"{k}.bin"
        path.write_bytes(bytes([k]) * 1000)
        opened.append(files.ByteFile(path))
    wrong = []

    def work():
        for turn in range(300):
            k = turn % 3
            if opened[k].read(turn, 100) != bytes([k]) * 100:
                wrong.append(turn)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_an_address_that_nobody_understands_is_one_line_without_its_secrets():
    for address in ("nonsense://user:secret@host/a", "s3://user:secret@bucket/a?no_such_option=1"):
        with pytest.raises(UserError) as caught:
            open_shards(address)
        assert "secret" not in str(caught.value)
        assert "\n" not in str(caught.value)


def test_shards_on_s3_read_as_those_on_a_disk(s3, tmp_path, make_record, put_shard):
    put_shard(tmp_path, [make_record(seed=0), make_record(seed=1)], "train-00000-of-00001.parquet")
    put_shard(tmp_path, [make_record(seed=2, split="val")], "val-00000-of-00001.parquet")
    system, _ = files.remote(s3("set"))
    for path in sorted((tmp_path / "data").iterdir()):
        with system.open_output_stream(f"shelf/set/data/{path.name}") as stream:
            stream.write(path.read_bytes())
    here, there = open_shards(tmp_path), open_shards(s3("set"))
    assert [sample.sample_id for sample in there] == [sample.sample_id for sample in here]
    np.testing.assert_array_equal(there[2].crop(5, 7, 50, 60).frames, here[2].crop(5, 7, 50, 60).frames)
    assert there[1].camera == here[1].camera
    assert len(open_shards(s3("set"), split="val")) == len(open_shards(s3("set/data/val-00000-of-00001.parquet"))) == 1
    with pytest.raises(UserError, match="no shard found") as caught:
        open_shards(s3("elsewhere"))
    assert "secret" not in str(caught.value)
    again = pickle.loads(pickle.dumps(ShardFile(s3("set/data/val-00000-of-00001.parquet"))))
    np.testing.assert_array_equal(again.image(0, "depth"), here[2].image("depth"))
