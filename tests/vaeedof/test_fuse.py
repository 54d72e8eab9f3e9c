"""Fusing files: sizes, bits, metadata, groups, maps, and one line for everything that cannot be fused."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage import data

torch = pytest.importorskip("torch", reason="VAEEDOF needs torch (extra `train`)")
pytest.importorskip("safetensors", reason="VAEEDOF needs safetensors (extra `train`)")

from mattingmfif.errors import UserError  # noqa: E402
from mattingmfif.vaeedof.checkpoint import save_model  # noqa: E402
from mattingmfif.vaeedof.fuse import depth_order, fuse_files, fuse_frames, groups, share_codes  # noqa: E402
from mattingmfif.vaeedof.model import VAEEDOF  # noqa: E402
from mattingmfif.vaeedof.settings import ModelSettings  # noqa: E402

TINY = ModelSettings(
    stem_px=4, widths=(8, 8), blocks=(1, 1), latent_channels=4, fusion_width=8, score_width=8, fusion_heads=2
)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained network: with equal frames it must give the frame, whatever its mixing weights are."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_model(path, VAEEDOF(TINY), TINY, "vaeedof", {"stage": "fusion"}, half=False)
    return path


def _photo(height: int = 75, width: int = 101) -> np.ndarray:
    return np.ascontiguousarray(data.astronaut()[:height, 150 : 150 + width])


def _save(path: Path, codes: np.ndarray) -> Path:
    assert cv2.imwrite(str(path), codes[..., ::-1])
    return path


def _read(path: Path) -> np.ndarray:
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert image is not None
    return image if image.ndim == 2 else image[..., ::-1]


@pytest.mark.parametrize("count", [1, 2, 7, 9])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_equal_frames_come_back_in_their_bits(tmp_path: Path, weights: Path, count: int, dtype: type) -> None:
    codes = _photo().astype(dtype) * (257 if dtype is np.uint16 else 1)
    paths = [_save(tmp_path / f"{k}.png", codes) for k in range(count)]
    said: list[str] = []
    out = fuse_files(paths, tmp_path / "fused.png", checkpoint=weights, device="cpu", report=said.append)
    fused = _read(out)
    assert fused.dtype == dtype
    assert np.abs(fused.astype(int) - codes).max() <= (0 if dtype is np.uint8 else 3)
    if count == 1:
        assert "passed through" in said[0]
    if count == 9:
        assert said[0] == "9 frames in 2 groups of up to 7"


def test_weight_maps_sum_to_one_and_depth_order_is_written(tmp_path: Path, weights: Path) -> None:
    rng = np.random.default_rng(0)
    paths = [_save(tmp_path / f"f{k}.png", rng.integers(0, 256, (40, 56, 3)).astype(np.uint8)) for k in range(9)]
    fuse_files(
        paths, tmp_path / "fused.png", checkpoint=weights, device="cpu", report=lambda _: None,
        weights_folder=tmp_path / "maps", depth_file=tmp_path / "depth.png",
    )  # fmt: skip
    maps = [_read(path) for path in sorted((tmp_path / "maps").iterdir())]
    assert len(maps) == 9
    assert np.all(np.sum([m.astype(int) for m in maps], 0) == 255)
    assert set(np.unique(_read(tmp_path / "depth.png"))) <= {round(255 * k / 8) for k in range(9)}


def test_maps_of_any_number_of_frames_are_within_a_code_of_the_shares() -> None:
    shares = np.random.default_rng(0).dirichlet(np.full(40, 0.3), (30, 20)).transpose(2, 0, 1).astype(np.float32)
    codes = np.stack(list(share_codes(shares))).astype(int)
    assert np.abs(codes - 255 * shares).max() <= 1
    assert np.all(codes.sum(0) == 255)


def test_the_depth_order_names_the_frame_with_the_greatest_share() -> None:
    shares = np.zeros((3, 40, 60), np.float32)
    shares[0, :, :20], shares[1, :, 20:40], shares[2, :, 40:] = 1, 1, 1
    order = depth_order(shares)
    assert [order[20, x] for x in (5, 30, 55)] == [0, 128, 255]


def test_where_nothing_is_sharp_the_depth_order_is_that_of_the_surroundings() -> None:
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.full(3, 20.0), (120, 200)).transpose(2, 0, 1).astype(np.float32)  # about a third each
    for frame, columns in ((0, slice(0, 60)), (2, slice(140, 200))):
        shares[:, :, columns] = 0.05
        shares[frame, :, columns] = 0.9
    order = depth_order(shares)
    assert np.mean(order[:, :90] == 0) > 0.98
    assert np.mean(order[:, 110:] == 255) > 0.98
    assert np.array_equal(depth_order(np.ones((1, 3, 5), np.float32)), np.zeros((3, 5)))
    assert depth_order(np.full((2, 1, 1), 0.5, np.float32)).shape == (1, 1)


def test_exif_and_profile_are_those_of_the_first_frame_unless_stripped(tmp_path: Path, weights: Path) -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    exif[0x0112] = 6  # to be turned
    paths = []
    for name in ("a.jpg", "b.jpg"):
        paths.append(tmp_path / name)
        Image.fromarray(_photo()).save(paths[-1], quality=95, exif=exif.tobytes(), icc_profile=profile)
    for strip in (False, True):
        out = fuse_files(
            paths, tmp_path / "fused.jpg", checkpoint=weights, device="cpu", strip_metadata=strip, report=lambda _: None
        )
        with Image.open(out) as image:
            assert image.size == (75, 101)  # upright
            found = image.getexif()
            assert found.get(0x010F) == (None if strip else "Maker")
            assert found.get(0x0112, 1) == 1
            assert bool(image.info.get("icc_profile")) is not strip


def test_groups_are_neighbours_of_about_equal_number() -> None:
    for count in range(1, 41):
        found = groups(count)
        assert [i for group in found for i in group] == list(range(count))
        sizes = [len(group) for group in found]
        assert max(sizes) <= 7
        assert max(sizes) - min(sizes) <= 1
        assert len(found) <= 6


def test_aligned_frames_are_fused_in_place(tmp_path: Path, weights: Path) -> None:
    photo = _photo(240, 300)
    moved = np.roll(photo, (3, -4), (0, 1))
    paths = [_save(tmp_path / "a.png", moved), _save(tmp_path / "b.png", photo)]
    said: list[str] = []
    fuse_files(paths, tmp_path / "f.png", checkpoint=weights, align="translation", device="cpu", report=said.append)
    assert "a.png: moved by 5.0" in said[0]
    error = np.abs(_read(tmp_path / "f.png").astype(int) - photo)[20:-20, 20:-20]
    assert error.mean() < 1.0


@pytest.mark.parametrize("size", [(1, 1), (2, 9), (17, 5)])
def test_tiny_frames_are_fused(weights: Path, tmp_path: Path, size: tuple[int, int]) -> None:
    paths = [_save(tmp_path / f"{k}.png", _photo(*size)) for k in range(2)]
    out = fuse_files(paths, tmp_path / "f.png", checkpoint=weights, device="cpu", report=lambda _: None)
    assert np.array_equal(_read(out), _photo(*size))


def test_linear_frames_in_memory_are_fused(weights: Path) -> None:
    torch.manual_seed(0)
    frames = [np.full((16, 24, 3), value, np.float32) for value in (0.2, 0.2)]
    fusion = fuse_frames(frames, VAEEDOF(TINY).eval(), with_shares=True)
    assert np.abs(fusion.image_linear - 0.2).max() < 1e-5
    assert fusion.shares is not None
    assert fusion.shares.shape == (2, 16, 24)


def test_missing_output_folders_are_made(tmp_path: Path, weights: Path) -> None:
    good, to = _save(tmp_path / "good.png", _photo()), tmp_path / "not" / "yet"
    fuse_files(
        [good, good], to / "f.png", checkpoint=weights, device="cpu", weights_folder=to / "maps" / "w",
        depth_file=to / "maps" / "order.png", report=lambda _: None,
    )  # fmt: skip
    assert (to / "f.png").is_file()
    assert (to / "maps" / "order.png").is_file()
    assert len(list((to / "maps" / "w").iterdir())) == 2


def test_what_cannot_be_fused_is_one_line_each(tmp_path: Path, weights: Path) -> None:
    good = _save(tmp_path / "good.png", _photo())
    wide = _save(tmp_path / "wide.png", _photo(75, 120))
    corrupt = tmp_path / "corrupt.jpg"
    corrupt.write_bytes(cv2.imencode(".jpg", _photo())[1].tobytes()[:900])
    (tmp_path / "rubbish.png").write_bytes(b"rubbish")
    untaught = tmp_path / "distil.safetensors"
    save_model(untaught, VAEEDOF(TINY), TINY, "vaeedof", {"stage": "distil"}, half=False)
    many = tmp_path / "many"
    many.mkdir()
    for k in range(200):
        (many / f"{k:03d}.png").write_bytes(good.read_bytes())
    options = {"checkpoint": weights, "device": "cpu", "report": lambda _: None}
    cases = [
        ([good, wide], {}, "wide.png: 120 x 75 px"),
        ([good, corrupt], {}, "corrupt.jpg"),
        ([good, tmp_path / "rubbish.png"], {}, "rubbish.png"),
        ([good, tmp_path / "absent.png"], {}, "absent.png: no such file"),
        ([many], {}, "200 frames; at most 40"),
        ([], {}, "no frames given"),
        ([good, good], {"checkpoint": untaught}, "stage 'distil'"),
        ([good, good], {"checkpoint": good}, "not a whole safetensors file"),
        ([good, good], {"align": "magic"}, "--align magic"),
        ([good, good], {"device": "abacus"}, "--device abacus"),
        ([good, good], {"tile_px": 3}, "--tile 3"),
        ([good, good], {"output": tmp_path / "f.xyz"}, "cannot write this kind"),
        ([good, good], {"output": good / "f.png"}, "good.png: cannot be made"),
        ([good, good], {"weights_folder": good}, "good.png: cannot be made"),
        ([good, good], {"depth_file": good / "order.png"}, "good.png: cannot be made"),
        ([good, good], {"depth_file": tmp_path / "order.jpg"}, "ends in .png"),
        ([good, good], {"depth_file": tmp_path / "f.png"}, "the fused picture goes there"),
        ([good, good], {"output": good}, "a frame would be written over"),
        ([good, good], {"weights_folder": tmp_path}, "holds the frames"),
        (
            [good, good],
            {"weights_folder": tmp_path / "m", "output": tmp_path / "m/02_good.png"},
            "a weight map goes there",
        ),
    ]
    if not torch.cuda.is_available():
        cases.append(([good, good], {"device": "cuda"}, "no CUDA device"))
    for inputs, changes, words in cases:
        arguments = {**options, "output": tmp_path / "f.png", **changes}
        with pytest.raises(UserError, match=words.replace("(", r"\(")) as caught:
            fuse_files(inputs, **arguments)  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)
