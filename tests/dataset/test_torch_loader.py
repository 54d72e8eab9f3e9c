"""Stacks as tensors, through the loader's own workers and through PyTorch's DataLoader."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch (extra `train`) is not installed")

from mattingmfif import FocalStackDataset  # noqa: E402
from mattingmfif.dataset.stream import FocalStackStream  # noqa: E402
from mattingmfif.dataset.torch_loader import FocalStackLoader  # noqa: E402
from mattingmfif.errors import UserError  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory, make_record, put_shard):
    out = tmp_path_factory.mktemp("torch")
    put_shard(out, [make_record(seed=k, focus_m=(1.0, 2.0, 4.0)[: 2 + k % 2]) for k in range(5)])
    return out


def equal(a, b):
    assert a.keys() == b.keys()
    return all(torch.equal(v, b[k]) if torch.is_tensor(v) else v == b[k] for k, v in a.items())


def test_items_are_tensors_with_channels_first(folder):
    item, plain = (FocalStackDataset(folder, crop=48, output=output)[1] for output in ("auto", "numpy"))
    assert item["frames"].shape == (7, 3, 48, 48)
    assert item["target"].shape == (3, 48, 48)
    assert item["frames"].dtype == torch.uint8
    assert item["present"].dtype == item["boundary"].dtype == torch.bool
    assert item["depth_m"].dtype == item["blur_radius_px"].dtype == torch.float32
    np.testing.assert_array_equal(item["frames"].permute(0, 2, 3, 1).numpy(), plain["frames"])
    np.testing.assert_array_equal(item["blur_radius_px"].numpy(), plain["blur_radius_px"])


def test_sixteen_bits_reach_the_tensor(tmp_path, make_record, put_shard):
    record = make_record(bits=16)
    put_shard(tmp_path, [record])
    item = FocalStackDataset(tmp_path, crop=(96, 129), output="torch")[0]
    assert item["target"].dtype == torch.uint16
    np.testing.assert_array_equal(item["target"].permute(1, 2, 0).numpy(), record.all_in_focus)
    batch = next(iter(FocalStackLoader(FocalStackDataset(tmp_path, crop=64), 1)))
    assert batch["frames"].dtype == torch.uint16


def test_spawned_workers_give_the_same_batches_and_a_state_resumes_between_them(folder):
    def loader(workers):
        return FocalStackLoader(FocalStackDataset(folder, crop=40, crops_per_sample=2), 3, num_workers=workers)

    alone = loader(0)
    assert len(alone) == 4
    expected = [*alone, *alone]
    assert alone.state_dict()["epoch"] == 2
    with_workers = loader(2)
    found = [*with_workers, *with_workers]
    assert len(found) == len(expected) == 8
    assert all(map(equal, expected, found))
    for cut in (2, 4):
        first = loader(0)
        iterator = iter(first)
        for _ in range(cut):
            next(iterator)
        resumed = loader(0)
        resumed.load_state_dict(first.state_dict())
        rest = [*resumed, *resumed][: 8 - cut]
        assert all(map(equal, expected[cut:], rest))
    with pytest.raises(UserError, match="batch_size 3"):
        FocalStackLoader(FocalStackDataset(folder, crop=40, crops_per_sample=2), 2).load_state_dict(alone.state_dict())


def test_processes_share_an_epoch_evenly(folder):
    seen = []
    for rank in range(3):
        loader = FocalStackLoader(FocalStackDataset(folder, crop=40), 1, rank=rank, world_size=3)
        seen.append([int(index) for batch in loader for index in batch["index"]])
    assert [len(part) for part in seen] == [2, 2, 2]
    assert {index for part in seen for index in part} == set(range(5))


def test_a_stream_takes_the_place_of_a_dataset(folder):
    stacks, stream = FocalStackDataset(folder, crop=40), FocalStackStream(folder, crop=40)
    found = {}
    for batch in FocalStackLoader(stream, 2):
        for place, index in enumerate(batch["index"]):
            found[int(index)] = batch["frames"][place]
    assert sorted(found) == list(range(5))
    assert all(torch.equal(frames, stacks[index]["frames"]) for index, frames in found.items())


def test_the_plain_dataloader_takes_the_dataset(folder):
    loader = torch.utils.data.DataLoader(FocalStackDataset(folder, crop=40), batch_size=2, shuffle=True)
    batches = list(loader)
    assert batches[0]["frames"].shape == (2, 7, 3, 40, 40)
    assert sum(len(batch["sample_id"]) for batch in batches) == 5
