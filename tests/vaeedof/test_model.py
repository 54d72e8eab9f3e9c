"""The network's promises: order-free, masked, local within its stated reach, able to pass pixels, affordable."""

from __future__ import annotations

import dataclasses

import pytest

torch = pytest.importorskip("torch", reason="VAEEDOF needs torch (extra `train`)")

from mattingmfif.vaeedof.bands import (  # noqa: E402
    VIEW_CHANNELS,
    coarse_bands,
    doubled,
    fine_bands,
    joined,
    log_energy,
    relative,
    smoothed,
    view,
)
from mattingmfif.vaeedof.cost import model_cost  # noqa: E402
from mattingmfif.vaeedof.model import VAEEDOF, FusionLayer  # noqa: E402
from mattingmfif.vaeedof.reach import Reach  # noqa: E402
from mattingmfif.vaeedof.settings import ModelSettings  # noqa: E402
from mattingmfif.vaeedof.tiles import fuse_pictures  # noqa: E402

SMALL = ModelSettings(
    stem_px=2, widths=(8, 12, 16), blocks=(1, 1, 1), latent_channels=4, fusion_width=16, score_width=8
)
CPU = ModelSettings(stem_px=4, widths=(8, 16), blocks=(1, 2), latent_channels=4, fusion_width=16, score_width=8)


def _awake(settings: ModelSettings, seed: int = 0) -> VAEEDOF:
    """A model whose zero-started layers are random too, so that every path carries something."""
    torch.manual_seed(seed)
    model = VAEEDOF(settings).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 4 and not parameter.any():
                parameter.normal_(0, 0.2)
        model.fusion.token.normal_()
    return model


def _pictures(n: int, height: int = 64, width: int = 48, seed: int = 1) -> torch.Tensor:
    return torch.rand(1, n, 3, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize("settings", [SMALL, CPU], ids=["stem2", "stem4"])
@pytest.mark.parametrize("n", range(1, 8))
def test_one_to_seven_frames_give_a_picture(settings: ModelSettings, n: int) -> None:
    with torch.no_grad():
        assert _awake(settings)(_pictures(n)).shape == (1, 3, 64, 48)


@pytest.mark.parametrize("settings", [SMALL, CPU], ids=["stem2", "stem4"])
def test_the_order_of_the_frames_changes_nothing(settings: ModelSettings) -> None:
    model, pictures = _awake(settings), _pictures(5)
    with torch.no_grad():
        fused = model(pictures)
        for order in ([4, 3, 2, 1, 0], [2, 0, 4, 1, 3]):
            assert (model(pictures[:, order]) - fused).abs().max() < 1e-5


def test_an_absent_frame_is_as_if_it_were_not_there_whatever_it_holds() -> None:
    model, pictures = _awake(SMALL), _pictures(3)
    with torch.no_grad():
        fused = model(pictures)
        for rubbish in (0.0, 7.0, float("inf"), float("nan")):
            padded = torch.cat([pictures[:, :1], torch.full((1, 2, 3, 64, 48), rubbish), pictures[:, 1:]], 1)
            present = torch.tensor([[True, False, False, True, True]])
            assert (model(padded, present) - fused).abs().max() < 1e-5


def test_the_frames_matter() -> None:
    model, pictures = _awake(SMALL), _pictures(3)
    with torch.no_grad():
        assert (model(pictures[:, :2]) - model(pictures)).abs().max() > 1e-3


@pytest.mark.parametrize("settings", [SMALL, CPU], ids=["stem2", "stem4"])
def test_source_pixels_can_pass_unchanged(settings: ModelSettings) -> None:
    # equal frames: whatever the mixing weights, an untrained model (no gain, no residual) hands the frame through
    model, picture = VAEEDOF(settings).eval(), _pictures(1)
    with torch.no_grad():
        for n in (1, 3):
            assert (model(picture.expand(-1, n, -1, -1, -1)) - picture[:, 0]).abs().max() < 1e-5
    # one frame's scores above all, in the cells and in the fine bands: its pixels alone
    with torch.no_grad():
        frames = _pictures(2)
        chosen = torch.zeros(1, 2, settings.score_width, 64 // settings.stem_px, 48 // settings.stem_px)
        chosen[:, 1] = 1
        model.pixels.score.weight.zero_()
        model.pixels.score.weight[:, 0] = 1000.0
        model.pixels.near.forward = lambda x: chosen.flatten(0, 1)  # type: ignore[method-assign]
        model.fusion.to_scores.forward = lambda x: torch.tensor([0.0, 1000.0])[:, None, None, None].expand(2, 3, 8, 6)
        assert (model(frames) - frames[:, 1]).abs().max() < 1e-5


@pytest.mark.parametrize("settings", [SMALL, CPU], ids=["stem2", "stem4"])
def test_a_frame_that_is_alone_comes_back_whatever_was_learnt(settings: ModelSettings) -> None:
    model, pictures = _awake(settings), _pictures(3)
    present = torch.tensor([[False, True, False]])
    with torch.no_grad():
        assert (model(pictures, present) - pictures[:, 1]).abs().max() < 1e-5
        assert (model(pictures[:, 1:2]) - pictures[:, 1]).abs().max() < 1e-5
        both = torch.cat([pictures, pictures])  # others of the batch are mended all the same
        fused = model(both, torch.cat([present, torch.ones_like(present)]))
        assert (fused[0] - pictures[0, 1]).abs().max() < 1e-5
        assert (fused[1] - model(pictures)[0]).abs().max() < 1e-5


def test_an_untrained_network_already_takes_the_sharper_frame() -> None:
    picture = _pictures(1, 64, 64)[0]
    soft = smoothed(smoothed(picture, 1), 2)
    left = (torch.arange(64) < 32).to(picture.dtype)
    frames = torch.cat([picture * left + soft * (1 - left), soft * left + picture * (1 - left)])[None]
    with torch.no_grad():
        fused = VAEEDOF(CPU).eval()(frames)[0]
    error, away = (fused - picture[0]).abs(), (torch.arange(64) - 31.5).abs() > 14
    assert error[..., away].mean() < 0.01
    assert (frames.mean(1) - picture).abs()[..., away].mean() > 0.1


def test_sharpness_is_relative_and_leaves_absent_frames_out() -> None:
    picture = _pictures(1, 32, 32)[0]
    frames = torch.cat([picture, smoothed(picture, 2), torch.zeros_like(picture)])
    energies = [log_energy(band) for band in fine_bands(frames)[0]]
    for energy in energies[:2]:
        cues = relative(energy[None], torch.tensor([[True, True, False]]))
        assert (cues[0, 0] > cues[0, 1]).float().mean() > 0.99
        assert not cues[0, 2].any()
        assert (cues[:, :2] - relative(energy[None, :2], torch.tensor([[True, True]]))).abs().max() < 1e-5
        assert cues.sum(1).abs().max() < 1e-4
    flat = log_energy(fine_bands(torch.ones(2, 3, 16, 16))[0][0])[None]
    assert relative(flat, torch.tensor([[True, True]])).abs().max() < 1e-5


def test_the_bands_are_the_picture_and_hold_nothing_of_a_flat_one() -> None:
    pictures = _pictures(2)[0]
    fine, cells = fine_bands(pictures)
    assert [band.shape[-1] for band in fine] == [48, 24, 12]
    assert cells.shape == (2, 3, 8, 6)
    assert (joined(fine, cells) - pictures).abs().max() < 1e-6
    coarse, base = coarse_bands(cells)
    assert (sum(coarse) + base - cells).abs().max() < 1e-6
    fine, cells = fine_bands(torch.full((1, 3, 16, 16), 0.5))
    assert max(float(band.abs().max()) for band in [*fine, *coarse_bands(cells)[0]]) < 1e-6


def test_a_view_holds_the_means_of_cells_and_the_energies_of_fine_bands() -> None:
    picture = _pictures(1, 32, 32)[0]
    seen = view(picture)
    assert seen.shape == (1, 6, 4, 4)
    assert (
        seen[0, :, 1, 2] - torch.cat([picture[0, :, 8:16, 16:24].mean((1, 2)), seen[0, 3:, 1, 2]])
    ).abs().max() < 1e-6
    energy = smoothed((picture - doubled(torch.nn.functional.avg_pool2d(picture, 2))).square().mean(1)[None], 1) + 1e-5
    assert (seen[0, 3] - torch.nn.functional.avg_pool2d(energy.log(), 8)[0, 0]).abs().max() < 1e-5


def test_where_a_blurred_light_glows_over_a_dark_ground_the_untrained_network_keeps_the_ground_dark() -> None:
    # far frame: the ground's texture is sharp, the light's glow lies over it; near frame: the light's edge is sharp
    ground = (_pictures(1, 128, 128)[0] * 0.1 - 0.7).expand(1, 3, 128, 128)
    inside = (torch.arange(128) < 64).to(ground.dtype)
    glow = inside.expand(1, 1, 128, 128)
    for _ in range(3):
        glow = smoothed(glow, 4)
    soft = smoothed(smoothed(ground, 2), 2)
    near = 0.8 * inside + soft * (1 - inside)
    far = 0.8 * glow + ground * (1 - glow)
    truth = 0.8 * inside + ground * (1 - inside)
    with torch.no_grad():
        fused = VAEEDOF(CPU).eval()(torch.stack([near, far], 1))
    band = slice(68, 76)
    assert (fused - truth)[..., band].abs().mean() < 0.7 * (far - truth)[..., band].abs().mean()


def _gradient_reach(settings: ModelSettings, pictures: torch.Tensor, pixel: tuple[int, int]) -> tuple[int, int]:
    """(farthest pixel that an output pixel depends on, to either side; most that it could)."""
    model = _awake(settings).double()
    pictures = pictures.double().requires_grad_(True)
    model(pictures)[0, :, pixel[0], pixel[1]].sum().backward()
    seen = pictures.grad.abs().sum((0, 1, 2)) > 0
    rows, columns = torch.nonzero(seen.any(1)).flatten(), torch.nonzero(seen.any(0)).flatten()
    far = max(
        pixel[0] - int(rows.min()),
        int(rows.max()) - pixel[0],
        pixel[1] - int(columns.min()),
        int(columns.max()) - pixel[1],
    )
    return far, model.reach().total_px


@pytest.mark.parametrize("settings", [SMALL, CPU], ids=["stem2", "stem4"])
def test_no_gradient_comes_from_beyond_the_stated_reach(settings: ModelSettings) -> None:
    size = 2 * VAEEDOF(settings).reach().total_px + 64
    # a pixel at the start and one at the end of an 8-px cell
    for pixel in ((size // 16 * 8, size // 16 * 8), (size // 16 * 8 + 7, size // 16 * 8 + 7)):
        far, stated = _gradient_reach(settings, _pictures(2, size, size), pixel)
        assert far <= stated + 7, "the network sees further than its halo"  # + 7: tiles start at multiples of 8
        assert far >= stated - 48, "the stated halo is wastefully large"


def test_the_reach_grows_with_every_added_layer() -> None:
    base = VAEEDOF(SMALL).reach()
    deeper = VAEEDOF(dataclasses.replace(SMALL, blocks=(1, 1, 3))).reach()
    wider = VAEEDOF(dataclasses.replace(SMALL, fusion_layers=4)).reach()
    assert deeper.latent_px == base.latent_px + 32
    assert deeper.output_px == base.output_px + 32
    assert wider == Reach(latent_px=base.latent_px, fusion_px=base.fusion_px + 16, output_px=base.output_px)


def test_the_shipped_architecture_stays_within_its_budget(capsys: pytest.CaptureFixture[str]) -> None:
    cost = model_cost(ModelSettings(), 2160, 3840, 7)
    with capsys.disabled():
        print("\n" + cost.text())
    assert 0.8e6 < cost.parameters["encoder"] < 1.4e6
    assert 0.8e6 < cost.parameters["decoder"] < 1.4e6
    assert cost.total_macs < 4e12


def test_macs_of_one_convolution_are_its_closed_form() -> None:
    # frames enter the count linearly through the encoder, all of whose layers are convolutions
    one, three = (model_cost(SMALL, 64, 64, n) for n in (1, 3))
    assert three.encode_macs == 3 * one.encode_macs
    stem = 32 * 32 * 12 * 8 * 9
    down = 16 * 16 * 8 * 12 * 9 + 8 * 8 * 12 * 16 * 9
    blocks = 2 * 9 * (32 * 32 * 8 * 8 + 16 * 16 * 12 * 12 + 8 * 8 * 16 * 16)
    assert one.encode_macs == stem + down + blocks + 8 * 8 * 16 * 4


@pytest.mark.parametrize("settings", [SMALL, CPU], ids=["stem2", "stem4"])
def test_macs_frame_by_frame_are_those_that_fusing_takes(settings: ModelSettings) -> None:
    model, taken = VAEEDOF(settings), [0]

    def count(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        if isinstance(module, torch.nn.Conv2d):
            taken[0] += output.numel() * module.weight[0].numel()
        else:
            b, t, d, h, w = inputs[0].shape
            taken[0] += 2 * b * t * t * d * h * w

    for layer in model.modules():
        if isinstance(layer, torch.nn.Conv2d | FusionLayer):
            layer.register_forward_hook(count)
    fuse_pictures(model, torch.zeros(3, 3, 64, 72), tile_px=128)
    assert model_cost(settings, 64, 72, 3).tiled_macs == taken[0]


@pytest.mark.parametrize(
    ("shape", "words"),
    [((1, 8, 3, 16, 16), "1 to 7"), ((1, 2, 3, 20, 16), "multiples of 8"), ((1, 2, 1, 16, 16), "must be")],
)
def test_impossible_input_is_refused(shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        VAEEDOF(SMALL)(torch.zeros(shape))


def test_a_stack_without_any_frame_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        VAEEDOF(SMALL)(torch.zeros(1, 2, 3, 16, 16), torch.tensor([[False, False]]))


def test_the_auto_encoder_alone_makes_a_picture_from_the_latent() -> None:
    model, pictures = _awake(SMALL), _pictures(2)
    with torch.no_grad():
        latents = model.encode(pictures)
        assert latents.shape == (1, 2, 4 + VIEW_CHANNELS, 8, 6)
        assert model.decoder(latents[0, :, :4]).shape == (2, 3, 64, 48)


@pytest.mark.parametrize("part", ["use_latent", "use_skips", "use_pixel_path"])
def test_each_part_can_be_taken_away_and_matters(part: str) -> None:
    pictures = _pictures(2)
    with torch.no_grad():
        whole = _awake(SMALL)(pictures)
        less = _awake(dataclasses.replace(SMALL, **{part: False}))(pictures)
    assert less.shape == whole.shape
    assert (less - whole).abs().max() > 1e-3
