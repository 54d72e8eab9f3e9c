import csv

import numpy as np
import pytest

from mattingmfif.errors import UserError
from mattingmfif.photo.gates import GateSettings, check_sharpness, check_size
from mattingmfif.photo.images import open_photo
from mattingmfif.photo.samples import write_samples
from mattingmfif.photo.sources import find_photos, read_licences
from mattingmfif.pixels.colour import linear_to_srgb


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("samples")
    return folder, write_samples(folder)


def test_at_least_six_photographs_pass_the_default_gates(samples):
    folder, _ = samples
    paths = find_photos(folder)
    assert len(paths) >= 6
    for path in paths:
        photo = open_photo(folder, path)
        check_size(*photo.linear.shape[:2], GateSettings())
        check_sharpness(linear_to_srgb(photo.linear), GateSettings())


def test_every_sample_has_a_line_of_licence_and_an_author(samples):
    folder, written = samples
    licences = read_licences(folder)
    assert set(licences) == {path.name for path in written} == set(find_photos(folder))
    assert all(licence.author and licence.url for licence in licences.values())
    with (folder / "LICENSES.csv").open() as stream:
        assert next(csv.reader(stream)) == ["path", "licence", "author", "url"]


def test_the_motorcycle_stands_a_few_metres_away(samples):
    folder, _ = samples
    distance_m = np.load(folder / "depth" / "motorcycle.npy", allow_pickle=False)
    assert distance_m.shape == open_photo(folder, "motorcycle.png").linear.shape[:2]
    known = distance_m[np.isfinite(distance_m)]
    assert known.size > 0.8 * distance_m.size
    assert 1.0 < known.min() < 3.0
    assert 3.0 < known.max() < 10.0


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot be written"):
        write_samples(tmp_path / "file" / "samples")
