"""Shards to evaluate on, made as the dataset's tests make them, and one thread for torch.

One thread, because these tests' pictures are small and threads that wait for busy cores make them slow.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    if find_spec("torch") is None:
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def small_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three training and two test samples of 96 x 129 px with two frames each; the last test sample has a gap."""
    from mattingmfif.dataset.shards import write_shard

    spec = spec_from_file_location("dataset_records", Path(__file__).parents[1] / "dataset" / "conftest.py")
    assert spec is not None
    assert spec.loader is not None
    records = module_from_spec(spec)
    spec.loader.exec_module(records)
    out = tmp_path_factory.mktemp("vaeedof") / "dataset"
    (out / "data").mkdir(parents=True)
    kinds = {
        "train": [{"seed": 0}, {"seed": 1}, {"seed": 2}],
        "test": [{"seed": 3}, {"seed": 4, "focus_m": (1.0, 1.5)}],
    }
    for split, options in kinds.items():
        made = [records.make_record(split=split, **each) for each in options]
        write_shard(
            out / "data" / f"{split}-00000-of-00001.parquet",
            iter(made),
            codec="tiff",
            plan_id=made[0].plan_id,
            recipe_hash=made[0].recipe_hash,
            toolkit_version="0.1.0",
            bits=8,
        )
    return out
