import os

import pytest

from mattingmfif.errors import UserError
from mattingmfif.photo.sources import find_photos, find_sidecars, is_sidecar, read_licences


def _touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def test_photos_are_found_in_sub_folders_and_sorted(tmp_path):
    _touch(tmp_path, "b.jpg", "a/z.PNG", "a/y.webp", "c.tif", "notes.txt", ".hidden.jpg", ".cache/x.jpg")
    assert find_photos(tmp_path) == ["a/y.webp", "a/z.PNG", "b.jpg", "c.tif"]


def test_sidecars_are_no_photos(tmp_path):
    _touch(tmp_path, "fox.jpg", "fox.alpha.png", "fox.mask.2.png", "fox.depth.png", "fox.v2.png")
    assert find_photos(tmp_path) == ["fox.jpg", "fox.v2.png"]
    assert is_sidecar("a/fox.Trimap.png")
    assert not is_sidecar("alpha.png")


def test_hidden_files_are_no_sidecars(tmp_path):
    for name in ("fox.alpha.png", "._fox.alpha.png", ".alpha.png", "..mask.png"):
        (tmp_path / name).write_bytes(b"x")
    assert find_sidecars(tmp_path) == ["fox.alpha.png"]


def test_an_excluded_folder_is_left_out(tmp_path):
    _touch(tmp_path, "a.jpg", "mattes/a.png")
    assert find_photos(tmp_path, exclude=[tmp_path / "mattes"]) == ["a.jpg"]


def test_links_that_lead_out_are_followed_only_when_asked(tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "out"
    _touch(inside, "a.jpg")
    _touch(outside, "secret.jpg", "more/b.jpg")
    (inside / "link.jpg").symlink_to(outside / "secret.jpg")
    (inside / "folder").symlink_to(outside / "more")
    assert find_photos(inside) == ["a.jpg"]
    assert find_photos(inside, follow_links=True) == ["a.jpg", "folder/b.jpg", "link.jpg"]


def test_a_loop_of_links_ends(tmp_path):
    _touch(tmp_path, "a/b.jpg")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    assert find_photos(tmp_path, follow_links=True) == ["a/b.jpg"]


def test_a_missing_folder_is_one_clear_line(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        find_photos(tmp_path / "nowhere")


def test_a_pipe_named_like_a_photo_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    assert find_photos(tmp_path) == []


def test_licences_are_read_by_path(tmp_path):
    text = 'path,licence,author,url\na/b.jpg,CC-BY-4.0,"Doe, Jane",https://example.org\nc.jpg,,,\n'
    (tmp_path / "LICENSES.csv").write_text(text, encoding="utf-8-sig")
    licences = read_licences(tmp_path)
    assert licences["a/b.jpg"].author == "Doe, Jane"
    assert licences["c.jpg"].licence == "unknown"


def test_no_licence_file_means_nothing_is_known(tmp_path):
    assert read_licences(tmp_path) == {}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "first line must name"),
        ("file,licence\na.jpg,CC0\n", "first line must name"),
        ("path,licence\na.jpg,CC0,extra\n", "line 2"),
        ("path,licence\na.jpg,CC0\na.jpg,MIT\n", "second licence"),
        ("path,licence\n/etc/a.jpg,CC0\n", "relative"),
        ("path,licence\n../a.jpg,CC0\n", "relative"),
    ],
)
def test_a_bad_licence_file_is_named_with_its_line(tmp_path, text, says):
    (tmp_path / "LICENSES.csv").write_text(text)
    with pytest.raises(UserError, match=says):
        read_licences(tmp_path)


def test_a_licence_file_that_is_no_text_is_said_so(tmp_path):
    (tmp_path / "LICENSES.csv").write_bytes(b"path,licence\n\xff\xfe,x\n")
    with pytest.raises(UserError, match="UTF-8"):
        read_licences(tmp_path)
