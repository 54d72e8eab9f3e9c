"""The split of a photograph: by its content, with its near-duplicates, not moved by photographs that are added."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mattingmfif.dataset import planning
from mattingmfif.dataset.inputs import Inputs
from mattingmfif.dataset.intake import Scanned, ScanTask
from mattingmfif.dataset.plan import Source, plan_samples, split_of, write_plan
from mattingmfif.dataset.recipe import Recipe, load_recipe
from mattingmfif.dataset.scan import Home, settle
from mattingmfif.dataset.workers import Outcome
from mattingmfif.errors import UserError
from mattingmfif.photo.duplicates import perceptual_hash, view_hashes
from mattingmfif.photo.images import file_sha256
from mattingmfif.photo.sources import Licence


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """Three samples a photograph, all of several photographs, if there are partners."""
    path = tmp_path_factory.mktemp("recipe") / "splits.toml"
    path.write_text(
        'schema = 1\nname = "splits"\n[output]\nsamples_per_photo = 3\n[splits]\ntrain = 0.5\nval = 0.2\ntest = 0.3\n'
        '[scene]\nkind = "composite"\n'
    )
    return load_recipe(str(path))


def scanned(name: str, bits: int, sha256: str) -> Scanned:
    return Scanned(
        path=name,
        sha256=sha256,
        licence=Licence(licence="CC0-1.0"),
        height=600,
        width=900,
        perceptual_hash=f"{bits:064x}",
        subjects=1,
        why_no_subject="",
        has_depth=False,
        sidecars=(),
        scores={},
    )


def settled(
    photos: list[Scanned], recipe: Recipe, earlier: dict[str, Home] | None = None
) -> tuple[dict[str, Source], dict[str, str]]:
    """Sources by path, and reasons of refusals by path."""
    tasks = [
        ScanTask(path=item.path, recipe=recipe, inputs=Inputs(src=Path()), licence=None, default_licence=None)
        for item in photos
    ]
    sources, rejects = settle(tasks, photos, recipe, (), earlier or {})
    return {item.path: item for item in sources}, {item.path: item.reason for item in rejects}


def photos_of(count: int, seed: int, prefix: str = "p") -> list[Scanned]:
    rng = random.Random(seed)
    return [scanned(f"{prefix}{k:03d}.jpg", rng.getrandbits(256), f"{rng.getrandbits(256):064x}") for k in range(count)]


def near(photo: Scanned, name: str, seed: int, bits: int = 20) -> Scanned:
    """The same picture with another exposure, say: `bits` bits of the hash differ."""
    rng = random.Random(seed)
    mask = sum(1 << k for k in rng.sample(range(256), bits))
    return scanned(name, int(photo.perceptual_hash, 16) ^ mask, f"{rng.getrandbits(256):064x}")


def bridged(recipe: Recipe, names: tuple[str, str, str], *, one_split: bool) -> list[Scanned]:
    """Two photographs too far apart to be near-duplicates, of one split or of two, and one that is near to both."""
    first = replace(photos_of(1, seed=3)[0], path=names[0])
    home = split_of(first.sha256, recipe.splits)
    others = (near(first, names[1], seed=seed, bits=70) for seed in range(50))
    other = next(item for item in others if (split_of(item.sha256, recipe.splits) == home) == one_split)
    difference = int(first.perceptual_hash, 16) ^ int(other.perceptual_hash, 16)
    half = sum(1 << k for k in [k for k in range(256) if difference >> k & 1][:35])
    return [first, other, scanned(names[2], int(first.perceptual_hash, 16) ^ half, "c" * 64)]


def test_photographs_that_are_added_move_none_of_those_that_were_there(recipe: Recipe) -> None:
    old = photos_of(60, seed=1)
    before, _ = settled(old, recipe)
    assert min(Counter(item.split for item in before.values()).values()) > 5
    added = photos_of(60, seed=2, prefix="a") + [near(old[k], f"q{k:03d}.jpg", seed=k) for k in range(20)]
    after, _ = settled([*added, *old], recipe)
    assert {path: after[path].split for path in before} == {path: item.split for path, item in before.items()}
    for k in range(20):
        assert after[f"q{k:03d}.jpg"].split == before[old[k].path].split
        assert after[f"q{k:03d}.jpg"].group == before[old[k].path].group


def test_a_photograph_that_is_near_two_splits_is_refused_and_moves_neither(recipe: Recipe) -> None:
    first, other, bridge = bridged(recipe, ("a000.jpg", "b.jpg", "c.jpg"), one_split=False)
    alone, _ = settled([first, other], recipe)
    joined, refused = settled([first, other, bridge], recipe)
    assert refused == {"c.jpg": "near-duplicate-across-splits"}
    assert joined == alone


def test_groups_of_one_split_that_a_photograph_joins_become_one(recipe: Recipe) -> None:
    first, other, bridge = bridged(recipe, ("a000.jpg", "b.jpg", "c.jpg"), one_split=True)
    joined, refused = settled([first, other, bridge], recipe)
    assert refused == {}
    assert {item.group for item in joined.values()} == {first.sha256}
    assert len({item.split for item in joined.values()}) == 1


def test_composites_take_photographs_of_one_split_and_not_their_own_near_duplicates(recipe: Recipe) -> None:
    photos = photos_of(40, seed=4)
    photos += [near(photos[k], f"q{k:03d}.jpg", seed=k) for k in range(15)]
    by_path, _ = settled(photos, recipe)
    sources = tuple(by_path.values())
    samples = plan_samples(recipe, 0, sources)
    assert sum(sample.kind == "composite" for sample in samples) > 100
    for sample in samples:
        members = [sources[index] for index in sample.sources]
        assert {member.split for member in members} == {sample.split}
        first, *others = members
        assert first.group not in {other.group for other in others}
    again = plan_samples(recipe, 0, sources)
    assert again == samples


def homes(sources: dict[str, Source]) -> dict[str, Home]:
    return {item.sha256: Home(item.group, item.split) for item in sources.values()}


@pytest.mark.parametrize("bits", [3, 20], ids=["the same picture", "a near-duplicate"])
def test_with_the_earlier_splits_known_nothing_that_is_added_moves_an_old_photograph(recipe: Recipe, bits: int) -> None:
    old = photos_of(60, seed=1)
    before, _ = settled(old, recipe)
    # every one of them sorts before all old ones
    added = [near(old[k], f"a{k:03d}.jpg", seed=100 + k, bits=bits) for k in range(60)]
    alone, _ = settled([*added, *old], recipe)
    moved = [path for path, item in before.items() if path not in alone or alone[path].split != item.split]
    assert moved  # the hole that history closes
    after, refused = settled([*added, *old], recipe, homes(before))
    assert {path: after[path].split for path in before} == {path: item.split for path, item in before.items()}
    if bits == 3:
        assert refused == {item.path: "duplicate" for item in added}
    else:
        assert {path: item.split for path, item in after.items() if path.startswith("a")} == {
            f"a{k:03d}.jpg": before[old[k].path].split for k in range(60)
        }
    assert list(after) == sorted(after)
    again, _ = settled([*added, *old], recipe, homes(after))
    assert again == after


def test_a_new_photograph_near_two_old_splits_is_refused_whatever_its_name(recipe: Recipe) -> None:
    first, other, bridge = bridged(recipe, ("m000.jpg", "n.jpg", "a.jpg"), one_split=False)
    before, _ = settled([first, other], recipe)
    after, refused = settled([first, other, bridge], recipe, homes(before))
    assert refused == {"a.jpg": "near-duplicate-across-splits"}
    assert after == before


def test_a_plan_grown_by_a_near_duplicate_keeps_the_splits_of_the_one_before(
    small_photos: Path, tiny_recipe: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def here(function: Any, tasks: Any, workers: Any) -> Iterator[Outcome]:
        for index, task in enumerate(tasks):
            yield Outcome(index=index, result=function(task), died=False, cpu_s=0.0)

    monkeypatch.setattr(planning, "run_tasks", here)
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "coffee.png").write_bytes((small_photos / "coffee.png").read_bytes())
    request = planning.resolved(planning.Request(src=photos, out=tmp_path / "x", recipe=load_recipe(str(tiny_recipe))))
    before, _ = planning.make_plan(request, None, lambda step: None)  # type: ignore[arg-type]
    (tmp_path / "old").mkdir()
    write_plan(before, tmp_path / "old")
    (split,) = {item.split for item in before.sources}
    picture = cv2.imread(str(small_photos / "coffee.png"))
    for number in range(40):  # a copy with a card in it, sorting first, whose own content belongs to another split
        copy = cv2.rectangle(picture.copy(), (10, 10), (60 + number, 50), (200, 30, 30), -1)
        cv2.imwrite(str(photos / "a.png"), copy)
        if split_of(file_sha256(photos / "a.png"), request.recipe.splits) != split:
            break
    plans = {}
    for name, place in (("alone", None), ("grown", tmp_path / "old")):
        asked = replace(request, splits_of=place)
        plans[name], _ = planning.make_plan(asked, None, lambda step: None)  # type: ignore[arg-type]
        planning.refuse_other_plan(
            plans[name], asked, planning.planned_files(asked, *planning.photos_and_inputs(asked))
        )
    assert {item.split for item in plans["alone"].sources} != {split}
    assert [(item.path, item.split) for item in plans["grown"].sources] == [("a.png", split), ("coffee.png", split)]
    with pytest.raises(UserError, match="splits of an earlier plan"):
        planning.refuse_other_plan(
            plans["grown"], request, planning.planned_files(request, *planning.photos_and_inputs(request))
        )
    with pytest.raises(UserError, match=r"no plan\.json there"):
        planning.earlier_plan(replace(request, splits_of=tmp_path / "nothing"))


@pytest.mark.parametrize("mirror_first", [False, True])
def test_a_mirror_image_and_a_crop_stay_in_the_split_of_their_photograph(recipe, mirror_first):
    names = ["b.jpg", "a.jpg"] if mirror_first else ["a.jpg", "b.jpg"]
    splits = Counter()
    for seed in range(8):
        small = np.random.default_rng(seed).random((12, 16, 3), np.float32)
        photo = np.clip(cv2.resize(small, (320, 240), interpolation=cv2.INTER_CUBIC), 0, 1)
        pictures = [photo, np.ascontiguousarray(photo[:, ::-1]), np.ascontiguousarray(photo[:-20, 28:])]
        items = [
            replace(
                scanned(
                    name, int(perceptual_hash(picture), 16), f"{random.Random(f'{seed}{name}').getrandbits(256):064x}"
                ),
                view_hashes=view_hashes(picture),
            )
            for name, picture in zip([*names, "c.jpg"], pictures, strict=True)
        ]
        sources, rejects = settled(items, recipe)
        assert not rejects
        assert len({source.group for source in sources.values()}) == 1
        splits.update(source.split for source in sources.values())
    assert len(splits) > 1  # not all in one split anyway


def test_no_composite_scene_shows_one_picture_twice(recipe):
    photos = photos_of(6, seed=5)
    photos += [near(photo, f"q{number}.jpg", seed=number) for number, photo in enumerate(photos)]
    sources, _ = settled(photos, recipe)
    ordered = tuple(sources[path] for path in sorted(sources))
    samples = plan_samples(recipe, 0, ordered)
    assert any(len(sample.sources) > 2 for sample in samples)
    for sample in samples:
        groups = [ordered[index].group for index in sample.sources]
        assert len(set(groups)) == len(groups)
