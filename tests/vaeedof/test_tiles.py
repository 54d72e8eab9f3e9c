"""Tiles: equal to the whole picture, on every size; less memory than asked for gives smaller tiles."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="VAEEDOF needs torch (extra `train`)")

from mattingmfif.errors import UserError  # noqa: E402
from mattingmfif.vaeedof import tiles  # noqa: E402
from mattingmfif.vaeedof.model import VAEEDOF  # noqa: E402
from mattingmfif.vaeedof.running import RunningMix  # noqa: E402
from mattingmfif.vaeedof.settings import ModelSettings  # noqa: E402

SMALL = ModelSettings(
    stem_px=2, widths=(8, 12, 16), blocks=(1, 1, 1), latent_channels=4, fusion_width=16, score_width=8
)
CPU = ModelSettings(stem_px=4, widths=(8, 16), blocks=(1, 2), latent_channels=4, fusion_width=16, score_width=8)


def _awake(settings: ModelSettings) -> VAEEDOF:
    """A model with all layers random, also those that start as nothing."""
    torch.manual_seed(0)
    model = VAEEDOF(settings).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 4 and not parameter.any():
                parameter.normal_(0, 0.1)
    return model


def _stack(n: int, height: int, width: int) -> torch.Tensor:
    return torch.rand(n, 3, height, width, generator=torch.Generator().manual_seed(2)) * 2 - 1


@pytest.mark.parametrize("settings", [SMALL, CPU], ids=["stem2", "stem4"])
@pytest.mark.parametrize("tile_px", [64, 96, 200])
def test_tiles_equal_the_whole_picture(settings: ModelSettings, tile_px: int) -> None:
    model, pictures = _awake(settings), _stack(3, 264, 312)
    with torch.no_grad():
        whole = model(pictures[None])[0]
    fused = tiles.fuse_pictures(model, pictures, tile_px=tile_px, with_shares=True)
    assert (fused.picture - whole).abs().max() < 1e-5
    assert fused.shares is not None
    assert (fused.shares.sum(0) - 1).abs().max() < 1e-5


@pytest.mark.parametrize("settings", [SMALL, CPU], ids=["stem2", "stem4"])
def test_no_layer_meets_two_frames_of_full_size_at_once(settings: ModelSettings) -> None:
    model, rows = _awake(settings), []
    for part in (model.encoder, model.mixes, model.pixels):
        for layer in part.modules():
            if isinstance(layer, torch.nn.Conv2d):
                layer.register_forward_hook(lambda _, inputs, __: rows.append(len(inputs[0])))
    tiles.fuse_pictures(model, _stack(7, 64, 72), with_shares=True)
    assert set(rows) == {1}


def test_a_running_mix_is_the_softmax_mean_whatever_the_scores() -> None:
    draws = torch.Generator().manual_seed(1)
    scores = torch.randn(5, 1, 4, 6, generator=draws) * torch.tensor([1.0, 30.0, 1e4, 1e-3]).reshape(4, 1)
    values = torch.randn(5, 3, 4, 6, generator=draws)
    mix = RunningMix()
    for score, value in zip(scores, values, strict=True):
        mix.add(score, value)
    assert (mix.mean() - (torch.softmax(scores, 0) * values).sum(0)).abs().max() < 1e-6


def test_a_halo_one_cell_too_small_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    model, pictures = _awake(SMALL), _stack(2, 160, 160)
    with torch.no_grad():
        whole = model(pictures[None])[0]
    narrow = type(model.reach())(latent_px=8, fusion_px=0, output_px=8)
    monkeypatch.setattr(model, "reach", lambda: narrow)
    fused = tiles.fuse_pictures(model, pictures, tile_px=64)
    assert (fused.picture - whole).abs().max() > 1e-4


@pytest.mark.parametrize("size", [(1, 1), (3, 50), (8, 8), (65, 71), (200, 9)])
def test_any_size_is_fused(size: tuple[int, int]) -> None:
    fused = tiles.fuse_pictures(_awake(CPU), _stack(2, *size), tile_px=64, with_shares=True)
    assert fused.picture.shape == (3, *size)
    assert fused.shares is not None
    assert fused.shares.shape == (2, *size)
    assert torch.isfinite(fused.picture).all()


def test_spans_cover_an_axis_once_and_start_at_multiples_of_eight() -> None:
    for length in (8, 64, 72, 1000, 2160):
        for tile_px in (64, 96, 768):
            found = tiles.spans(length, tile_px, 40)
            assert [span.start for span in found] == [0, *[span.stop for span in found[:-1]]]
            assert found[-1].stop == length
            assert all(span.start % 8 == 0 and span.stop - span.start <= tile_px for span in found)
            assert all(span.halo_start == max(0, span.start - 40) for span in found)


def test_a_long_run_says_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    tiles.fuse_pictures(_awake(CPU), _stack(2, 64, 128), tile_px=64, report=said.append)
    assert said == []
    monkeypatch.setattr(tiles, "QUIET_S", 0)
    tiles.fuse_pictures(_awake(CPU), _stack(2, 64, 128), tile_px=64, report=said.append)
    assert said == [*(f"frame {i} of 2 encoded" for i in (1, 2)), *(f"tile {i} of 2 fused" for i in (1, 2))]


def test_out_of_memory_is_answered_with_smaller_tiles_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    model, pictures = _awake(CPU), _stack(2, 264, 264)
    whole = tiles.fuse_pictures(model, pictures, tile_px=512).picture
    real = tiles.decode_by_frame

    def hungry(model, fused, pictures, **options):
        if pictures[0].shape[-1] > 230:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
        return real(model, fused, pictures, **options)

    monkeypatch.setattr(tiles, "decode_by_frame", hungry)
    said: list[str] = []
    small = tiles.fuse_pictures(model, pictures, tile_px=512, report=said.append).picture
    assert (small - whole).abs().max() < 1e-5
    assert said == ["out of memory on cpu: going on with tiles of 256 px"] or "128 px" in said[-1]


def test_out_of_memory_at_the_smallest_tile_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    model = _awake(CPU)

    def starved(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(tiles, "decode_by_frame", starved)
    with pytest.raises(UserError, match="out of memory"):
        tiles.fuse_pictures(model, _stack(2, 64, 64), tile_px=128)


def test_other_errors_are_not_taken_for_lack_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    model = _awake(CPU)

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("shape mismatch")

    monkeypatch.setattr(tiles, "decode_by_frame", broken)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        tiles.fuse_pictures(model, _stack(2, 64, 64))


def test_bfloat16_differs_by_little() -> None:
    model, pictures = _awake(CPU), _stack(3, 64, 64)
    exact = tiles.fuse_pictures(model, pictures, precision="float32").picture
    low = tiles.fuse_pictures(model, pictures, precision="bfloat16").picture
    assert 0 < (low - exact).abs().max() < 0.05
