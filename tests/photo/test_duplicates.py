import cv2
import numpy as np

from mattingmfif.photo.duplicates import group_near_duplicates, hash_distance, perceptual_hash


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


def test_groups_join_by_steps_and_are_named_by_their_first_path():
    zero = "0" * 64
    one_step, two_steps, far = "f" * 5 + "0" * 59, "f" * 10 + "0" * 54, "a" * 64
    groups = group_near_duplicates({"d.jpg": far, "b.jpg": one_step, "c.jpg": two_steps, "a.jpg": zero}, max_bits=20)
    assert groups == {"a.jpg": "a.jpg", "b.jpg": "a.jpg", "c.jpg": "a.jpg", "d.jpg": "d.jpg"}
    assert group_near_duplicates({}) == {}
