"""HEIC photographs and the depth in them, as phones write it.

pillow-heif writes no depth, so the file is put together here: a HEIC of two pictures becomes one with depth when its
second picture is declared an auxiliary one, with the H.265 message that says how its codes are meant.
"""

from __future__ import annotations

import io
import math
import random
import struct

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image, ImageCms

from mattingmfif.cli.group import cli
from mattingmfif.dataset.inputs import Inputs
from mattingmfif.dataset.intake import prepare_photo
from mattingmfif.dataset.recipe import load_recipe
from mattingmfif.errors import Refused
from mattingmfif.photo import heif
from mattingmfif.photo.depth import read_depth, read_depth_within
from mattingmfif.photo.heif import heif_depth
from mattingmfif.photo.images import open_photo
from mattingmfif.pixels.colour import encode_srgb

pillow_heif = pytest.importorskip("pillow_heif", reason="the extra heic is not installed")
HEIGHT, WIDTH = 240, 320
CODES = np.tile(np.arange(0, 240, 3, dtype=np.uint8), (60, 1))  # 60 x 80, larger is nearer


def box(kind, content):
    return struct.pack(">I", 8 + len(content)) + kind + content


def boxes(content):
    at = 0
    while at < len(content):
        size, kind = struct.unpack(">I4s", content[at : at + 8])
        yield kind, content[at + 8 : at + size]
        at += size


def message(kind, **ends):
    """The SEI message 177 of H.265: which ends are given, representation, and each end: sign, exponent, mantissa."""
    bits = "".join(str(int(name in ends)) for name in ("z_near", "z_far", "d_min", "d_max"))
    code = bin(kind + 1)[2:]
    bits += "0" * (len(code) - 1) + code
    if "d_min" in ends or "d_max" in ends:
        bits += "1"  # reference view 0
    for name in ("z_near", "z_far", "d_min", "d_max"):
        if name in ends:
            exponent = math.floor(math.log2(ends[name]))
            mantissa = round((ends[name] / 2**exponent - 1) * 2**20)
            bits += f"0{exponent + 31:07b}{19:05b}{mantissa:020b}"
    bits += "1"
    bits += "0" * (-len(bits) % 8)
    payload = int(bits, 2).to_bytes(len(bits) // 8, "big")
    unit = b"\x4e\x01" + bytes([177, len(payload)]) + payload
    return struct.pack(">II", 4 + len(unit), len(unit)) + unit


def with_depth(two, sei):
    """The HEIC bytes of two pictures with the second one declared the depth of the first."""
    top = list(boxes(two))
    meta = next(content for kind, content in top if kind == b"meta")
    inner = dict(boxes(meta[4:]))
    aux = box(b"auxC", bytes(4) + b"urn:mpeg:hevc:2015:auxid:2\0" + sei)
    parts = dict(boxes(inner[b"iprp"]))
    number = sum(1 for _ in boxes(parts[b"ipco"])) + 1
    ipma, at, items = parts[b"ipma"], 8, []
    for _ in range(2):  # of each picture: id, count, then a byte a property
        items.append(struct.unpack(">H", ipma[at : at + 2])[0])
        count = ipma[at + 2]
        at += 3 + count
    ipma = ipma[: at - 1 - count] + bytes([count + 1]) + ipma[at - count : at] + bytes([number])
    inner[b"iprp"] = box(b"ipco", parts[b"ipco"] + aux) + box(b"ipma", ipma)
    inner[b"iref"] = inner.get(b"iref", bytes(4)) + box(b"auxl", struct.pack(">HHH", items[1], 1, items[0]))
    out = b"".join(box(kind, content) for kind, content in inner.items())
    grown = len(out) - len(meta) + 4
    # offsets of the pixels count from the start of the file, which has grown before them
    i = out.index(b"iloc") + 4
    sizes, count = out[i + 4], struct.unpack(">H", out[i + 6 : i + 8])[0]
    assert out[i] in (0, 1)
    assert sizes == 0x44
    at = i + 8
    for _ in range(count):
        at += 2 + (2 if out[i] else 0) + 2 + (out[i + 5] >> 4)
        extents = struct.unpack(">H", out[at : at + 2])[0]
        at += 2
        for _ in range(extents):
            offset = struct.unpack(">I", out[at : at + 4])[0]
            out = out[:at] + struct.pack(">I", offset + grown) + out[at + 4 :]
            at += 8
    return b"".join(box(kind, meta[:4] + out if kind == b"meta" else content) for kind, content in top)


@pytest.fixture(scope="module")
def picture():
    rng = np.random.default_rng(0)
    return cv2.GaussianBlur(rng.integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8), (0, 0), 4)


@pytest.fixture(scope="module")
def heic(picture):
    """`heic(representation, **ends)` is a HEIC picture with the codes above as its depth."""
    file = pillow_heif.HeifFile()
    file.add_frombytes("RGB", (WIDTH, HEIGHT), picture.tobytes())
    file.add_frombytes("L", (CODES.shape[1], CODES.shape[0]), CODES.tobytes())
    content = _saved(file)

    def make(kind, **ends):
        return with_depth(content, message(kind, **ends))

    return make


def _saved(file, **options):
    content = io.BytesIO()
    file.save(content, quality=-1, **options)
    return content.getvalue()


def test_uniform_inverse_z_is_metres_and_needs_no_kind(heic, tmp_path):
    path = tmp_path / "a.heic"
    path.write_bytes(heic(0, z_near=0.5, z_far=8.0))
    share = CODES / 255
    expected = 1 / (1 / 8.0 + share * (1 / 0.5 - 1 / 8.0))
    values, kind = heif_depth(path.read_bytes())
    assert kind == "metres"
    np.testing.assert_allclose(values, expected, rtol=0.03)  # the codec may change a code by one
    depth = read_depth(path, "disparity", None, None, (HEIGHT, WIDTH))
    assert depth.map_shape == CODES.shape
    np.testing.assert_allclose(1 / depth.distance_m[2::4, 2::4][:-1, :-1], 1 / expected[:-1, :-1], atol=0.02)


def test_uniform_disparity_is_disparity_between_the_ends_that_the_user_gives(heic, tmp_path):
    path = tmp_path / "a.heic"
    path.write_bytes(heic(1, d_min=1.5, d_max=4.375))
    values, kind = heif_depth(path.read_bytes())
    assert kind == "disparity"
    np.testing.assert_allclose(values, 1.5 + CODES / 255 * 2.875, atol=0.025)
    depth = read_depth_within(path, 1.0, 10.0, (HEIGHT, WIDTH))
    assert depth.distance_m.min() == pytest.approx(1.0)
    assert depth.distance_m.max() == pytest.approx(10.0)
    assert (np.diff(depth.distance_m[100]) <= 1e-5).all()


NOT_READ = [(2, {"z_near": 1.0, "z_far": 2.0}), (0, {}), (1, {"d_max": 0.5, "d_min": 0.5})]


@pytest.mark.parametrize(("kind", "ends"), NOT_READ)
def test_depth_that_does_not_say_what_it_means_is_refused(heic, kind, ends):
    with pytest.raises(Refused, match="about its depth") as caught:
        heif_depth(heic(kind, **ends))
    assert caught.value.reason == "depth-unreadable"


def test_a_heic_photo_comes_in_with_its_profile_its_turn_and_its_own_depth(heic, picture, tmp_path, tiny_recipe):
    (tmp_path / "a.heic").write_bytes(heic(0, z_near=0.5, z_far=8.0))
    photo = open_photo(tmp_path, "a.heic")
    assert np.abs(encode_srgb(photo.linear).astype(int) - picture).mean() < 3  # chroma is stored at half size
    recipe = load_recipe(str(tiny_recipe)).replaced({"gate.max_soft_share": 1.0})
    prepared = prepare_photo("a.heic", recipe, Inputs(src=tmp_path))
    assert prepared.depth.distance_m.shape == (192, 256)
    assert prepared.depth.distance_m[:, :20].mean() > 3 * prepared.depth.distance_m[:, -20:].mean()
    # a file beside it has the last word
    np.save(tmp_path / "a.depth.npy", np.full((HEIGHT, WIDTH), 2.0))
    assert (prepare_photo("a.heic", recipe, Inputs(src=tmp_path)).depth.distance_m == 2).all()
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    plain = pillow_heif.from_pillow(Image.fromarray(picture))
    (tmp_path / "b.heic").write_bytes(_saved(plain, icc_profile=profile, exif=exif.tobytes()))
    turned = open_photo(tmp_path, "b.heic")
    assert turned.linear.shape == (WIDTH, HEIGHT, 3)
    upright = np.rot90(picture, -1)
    assert np.abs(encode_srgb(turned.linear).astype(int) - upright).mean() < 3
    assert heif_depth((tmp_path / "b.heic").read_bytes()) is None


def test_own_depth_that_cannot_be_used_does_not_cost_the_photo(heic, tmp_path, tiny_recipe):
    (tmp_path / "a.heic").write_bytes(heic(2, z_near=1.0, z_far=2.0))
    recipe = load_recipe(str(tiny_recipe)).replaced({"gate.max_soft_share": 1.0})
    prepared = prepare_photo("a.heic", recipe, Inputs(src=tmp_path))
    assert prepared.depth is None
    assert prepared.scores["own_depth_unusable"] == 1.0


def test_depth_is_turned_with_its_photo(tmp_path):
    """A phone held upright: both pictures lie on their side in the file, and say so."""
    lies = Image.Exif()
    lies[0x0112] = 6
    file = pillow_heif.HeifFile()
    for height, width in ((HEIGHT, WIDTH), (60, 80)):
        row = np.where(np.arange(width) < width / 4, 200, 20).astype(np.uint8)
        picture = Image.fromarray(np.tile(row, (height, 1)))
        picture.info["exif"] = lies.tobytes()
        file.add_from_pillow(picture)
    content = with_depth(_saved(file), message(0, z_near=0.5, z_far=8.0))
    assert b"irot" in content
    (tmp_path / "a.heic").write_bytes(content)
    photo = open_photo(tmp_path, "a.heic").linear[..., 1]
    depth = read_depth_within(tmp_path / "a.heic", None, None, photo.shape)
    agree = (photo > 0.2) == (depth.distance_m < 1.5)
    assert agree.mean() > 0.98
    assert 0.2 < (photo > 0.2).mean() < 0.3
    # as it lies in the file the two would agree on five eighths of the pixels
    assert ((photo > 0.2)[::-1, ::-1] == (depth.distance_m < 1.5)).mean() < 0.7


def test_blur_takes_the_depth_of_the_photo_itself(heic, tmp_path):
    path = tmp_path / "a.heic"
    path.write_bytes(heic(0, z_near=0.5, z_far=8.0))
    words = ["blur", path, "--depth", path, "--focus", "2m", "-o", tmp_path / "out.png"]
    done = CliRunner().invoke(cli, [*map(str, words)])
    assert done.exit_code == 0, done.output
    assert "80x60 brought to the photo's 320x240" in done.output
    assert cv2.imread(str(tmp_path / "out.png")).shape == (HEIGHT, WIDTH, 3)


def test_names_that_lie_damage_and_a_missing_extra_are_reasons(heic, picture, tmp_path, monkeypatch):
    content = heic(0, z_near=0.5, z_far=8.0)
    (tmp_path / "a.jpg").write_bytes(content)
    (tmp_path / "b.heic").write_bytes(cv2.imencode(".jpg", picture)[1].tobytes())
    (tmp_path / "c.heic").write_bytes(content)
    for name, reason, words in (("a.jpg", "wrong-suffix", "HEIF"), ("b.heic", "wrong-suffix", "JPEG")):
        with pytest.raises(Refused, match=words) as caught:
            open_photo(tmp_path, name)
        assert caught.value.reason == reason
    with pytest.raises(Refused) as caught:
        open_photo(tmp_path, "c.heic", max_pixels=1000)
    assert caught.value.reason == "too-many-pixels"
    rng, reasons = random.Random(3), set()
    for number in range(120):
        damaged = bytearray(content[: rng.randrange(20, len(content))] if number % 2 else content)
        for _ in range(rng.choice([3, 20])):
            damaged[rng.randrange(12, min(len(damaged), rng.choice([700, 10**6])))] = rng.randrange(256)
        (tmp_path / "d.heic").write_bytes(damaged)
        for read, words in ((open_photo, (tmp_path, "d.heic")), (heif_depth, (bytes(damaged),))):
            try:
                read(*words)
            except Refused as refused:
                reasons.add(refused.reason)
    assert {"damaged", "depth-unreadable"} <= reasons
    monkeypatch.setattr(heif, "find_spec", lambda name: None)
    with pytest.raises(Refused, match=r"mattingmfif\[heic\]") as caught:
        open_photo(tmp_path, "c.heic")
    assert caught.value.reason == "unsupported-format"
