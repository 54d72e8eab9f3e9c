import cv2
import numpy as np
import pytest

from mattingmfif.photo.duplicates import (
    NEAR_DUPLICATE_BITS,
    VIEWS,
    distances,
    hash_distance,
    perceptual_hash,
    view_hashes,
    words_of,
)


def _scene(seed):
    small = np.random.default_rng(seed).random((12, 16, 3), np.float32)
    return np.clip(cv2.resize(small, (320, 240), interpolation=cv2.INTER_CUBIC), 0, 1)


def test_size_exposure_and_compression_hardly_change_the_hash():
    scene = _scene(0)
    smaller = cv2.resize(scene, (200, 150), interpolation=cv2.INTER_AREA)
    _, jpeg = cv2.imencode(".jpg", (scene * 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 60])
    compressed = cv2.imdecode(jpeg, cv2.IMREAD_COLOR).astype(np.float32) / 255
    for other in (smaller, scene * 0.7, compressed):
        assert hash_distance(perceptual_hash(scene), perceptual_hash(other)) <= 16


def test_other_scenes_and_mirror_images_are_far():
    hashes = [perceptual_hash(_scene(seed)) for seed in range(12)]
    hashes.append(perceptual_hash(_scene(0)[:, ::-1].copy()))
    distances = [hash_distance(a, b) for i, a in enumerate(hashes) for b in hashes[:i]]
    assert min(distances) > 60


def _nearest(one, other):
    """The least difference of either's hash from the other's, or from what the other contains."""
    hashes = [words_of(perceptual_hash(photo)) for photo in (one, other)]
    views = [
        np.concatenate([own, words_of(view_hashes(photo))]) for own, photo in zip(hashes, (one, other), strict=True)
    ]
    return min(int(distances(views[0], hashes[1]).min()), int(distances(views[1], hashes[0]).min()))


@pytest.mark.parametrize(
    "changed",
    [
        lambda photo: photo[:, ::-1],
        lambda photo: photo[::-1],
        lambda photo: np.rot90(photo),
        lambda photo: np.rot90(photo, 3)[:, ::-1],
        lambda photo: photo[12:-12, 16:-16],
        lambda photo: photo[:-24, 32:],
        lambda photo: photo[20:-22, 30:-18],
        lambda photo: np.pad(photo, ((10, 10), (14, 14), (0, 0)), constant_values=1.0),
    ],
)
def test_turned_mirrored_and_cropped_copies_are_near_whichever_comes_first(changed):
    photos = [_scene(seed) for seed in range(6)]
    for photo in photos:
        other = cv2.resize(np.ascontiguousarray(changed(photo)) * 0.8, (200, 150), interpolation=cv2.INTER_AREA)
        assert _nearest(photo, other) <= NEAR_DUPLICATE_BITS
        assert _nearest(other, photo) <= NEAR_DUPLICATE_BITS
    assert min(_nearest(a, b) for i, a in enumerate(photos) for b in photos[:i]) > 1.5 * NEAR_DUPLICATE_BITS


def test_there_are_as_many_views_as_is_said_and_the_whole_picture_is_that_of_the_plain_hash():
    assert len(words_of(view_hashes(_scene(0)))) == VIEWS
    turned_twice = np.ascontiguousarray(_scene(0)[::-1, ::-1])
    assert distances(words_of(view_hashes(_scene(0))), words_of(perceptual_hash(turned_twice))).min() <= 2
