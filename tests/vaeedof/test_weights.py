"""The network that comes with the package: small, and does what a trained one must."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data

torch = pytest.importorskip("torch", reason="VAEEDOF needs torch (extra `train`)")
pytest.importorskip("safetensors", reason="VAEEDOF needs safetensors (extra `train`)")

from mattingmfif.pixels.colour import decode_srgb, encode_srgb  # noqa: E402
from mattingmfif.vaeedof.baselines import average, guided_filter_fusion, laplacian_pyramid  # noqa: E402
from mattingmfif.vaeedof.checkpoint import SHIPPED, load_model, load_tensors  # noqa: E402
from mattingmfif.vaeedof.evaluate import fuse_codes  # noqa: E402
from mattingmfif.vaeedof.fuse import fuse_files  # noqa: E402
from mattingmfif.vaeedof.metrics import psnr  # noqa: E402
from mattingmfif.vaeedof.model import VAEEDOF  # noqa: E402
from mattingmfif.vaeedof.stacks import to_codes, to_picture  # noqa: E402


@pytest.fixture(scope="module")
def shipped() -> VAEEDOF:
    model, about = load_model()
    assert about["stage"] == "fusion"
    return model


def _fused(model: VAEEDOF, frames: list[np.ndarray]) -> np.ndarray:
    with torch.no_grad():
        picture = model(torch.from_numpy(to_picture(np.stack(frames)))[None])[0].numpy()
    return to_codes(picture, frames[0].dtype)


def _photo() -> np.ndarray:
    return np.ascontiguousarray(data.astronaut()[:256, 128:384])


def _disc_blur(image: np.ndarray, radius_px: float) -> np.ndarray:
    reach = int(np.ceil(radius_px)) + 1
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = np.clip(radius_px + 0.5 - np.hypot(x, y), 0, 1).astype(np.float32)
    return cv2.filter2D(image, -1, disc / disc.sum(), borderType=cv2.BORDER_REPLICATE)


def test_the_weights_are_small_and_carry_their_story(shipped: VAEEDOF) -> None:
    assert SHIPPED.stat().st_size < 12e6
    about = load_model()[1]
    assert {"recipe", "seed", "data", "steps", "samples"} <= about.keys()
    card = (SHIPPED.parent / "README.md").read_text()
    figures = about["figures"]["test"]
    for region in ("all", "boundary", "gap", "trusted"):
        for other in ("laplacian-pyramid", "gff"):
            assert figures[region]["vaeedof"] > figures[region][other]
        assert f"{figures[region]['vaeedof']:.2f}" in card  # the card's figures are the header's
    # nothing of the machine on which they were made: no path, no host, in any value of the header
    header = json.dumps({**load_tensors(SHIPPED)[1], "about": about})
    assert not re.search(r"(?<![A-Za-z0-9.])/[a-z]+/|[A-Z]:\\\\|home|@", header)


def test_one_sharp_frame_comes_back(shipped: VAEEDOF) -> None:
    assert psnr(_fused(shipped, [_photo()]), _photo()) > 45


def test_fuse_uses_it_unless_told_otherwise(tmp_path: Path) -> None:
    photo = _photo()
    soft, left = encode_srgb(_disc_blur(decode_srgb(photo), 5.0)), np.arange(256)[None, :, None] < 128
    for name, frame in (("a", np.where(left, photo, soft)), ("b", np.where(left, soft, photo))):
        cv2.imwrite(str(tmp_path / f"{name}.png"), frame[..., ::-1])
    out = fuse_files([tmp_path / "a.png", tmp_path / "b.png"], tmp_path / "f.png", device="cpu", report=lambda _: None)
    assert psnr(cv2.imread(str(out))[..., ::-1], photo) > psnr(average([photo, soft]), photo) + 8


def test_a_frame_that_is_sharp_everywhere_is_returned(shipped: VAEEDOF) -> None:
    photo = _photo()
    soft = [encode_srgb(_disc_blur(decode_srgb(photo), radius)) for radius in (4.0, 8.0)]
    fused = _fused(shipped, [soft[0], photo, soft[1]])
    assert psnr(fused, photo) > 38
    assert psnr(fused, photo) > psnr(laplacian_pyramid([soft[0], photo, soft[1]]), photo) + 3


def test_it_beats_pyramid_and_guided_filter_in_the_boundary_band_of_a_stack_it_has_not_seen(shipped: VAEEDOF) -> None:
    front, back = (decode_srgb(np.ascontiguousarray(p)) for p in (_photo(), data.coffee()[:256, 200:456]))
    y, x = np.mgrid[:256, :256]
    radius = 75 + 15 * np.sin(5 * np.arctan2(y - 128, x - 128))
    alpha = np.clip(radius - np.hypot(y - 128, x - 128) + 0.5, 0, 1).astype(np.float32)[..., None]
    wide = _disc_blur(alpha, 6.0)[..., None]
    target = encode_srgb(front * alpha + back * (1 - alpha))
    near = encode_srgb(front * alpha + _disc_blur(back, 6.0) * (1 - alpha))
    far = encode_srgb(_disc_blur(front * alpha, 6.0) + back * (1 - wide))
    band = (wide[..., 0] > 0.02) & (wide[..., 0] < 0.98)
    fused = fuse_codes([near, far], shipped, torch.device("cpu"))
    for other in (laplacian_pyramid, guided_filter_fusion, average):
        assert psnr(fused, target, band) > psnr(other([near, far]), target, band), other.__name__
