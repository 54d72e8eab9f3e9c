"""What the command line says to wrong words: one line that helps, and the documented exit code."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from mattingmfif.cli import main
from mattingmfif.dataset.out_folder import Journal, Runner


def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Exit code, output and errors of a command."""
    monkeypatch.setattr(sys, "argv", ["mattingmfif", *map(str, words)])
    with pytest.raises(SystemExit) as left:
        main()
    output = capsys.readouterr()
    return int(left.value.code or 0), output.out, output.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["blur", "a.png", "--depth", "b.png", "--focus", "near", "-o", "c.png"], r"--focus.*'near'.*such as 1\.8m"),
        (["build", "--src", "a"], r"Missing option '--out'; see `mattingmfif build --help`"),
        (["build", "--src", "a", "--out", "b", "--jobs", "0"], "--jobs.*0 is not in the range"),
        (["biuld"], "No such command 'biuld'"),
        (["verify", "a", "b"], "unexpected extra argument"),
        (["recipes", "check", "nowhere.toml"], "nowhere.toml: no such file; published recipes: .*quick"),
        (["recipes", "check", "quik"], "did you mean quick"),
        (["scan", "photos", "--out", "scan.html"], "--out scan.html: a folder is written"),
    ],
)
def test_wrong_words_are_one_line_with_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    code, out, err = said(monkeypatch, capsys, *words)
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert re.search(message, err), err


def test_a_recipe_that_is_checked_says_why_a_build_has_another_hash(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, out, _ = said(monkeypatch, capsys, "recipes", "check", "quick")
    assert (code, "sound; recipe_hash" in out, "another hash" in out) == (0, True, True)
    path = tmp_path / "own.toml"
    path.write_text('schema = 1\nname = "own"\n[matting]\nsegmenter = "classical"\n')
    assert "another hash" not in said(monkeypatch, capsys, "recipes", "check", path)[1]


def test_status_of_a_build_without_a_plan_says_what_happened(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert "`mattingmfif plan` or `build` writes one" in said(monkeypatch, capsys, "status", tmp_path)[2]
    (tmp_path / "data").mkdir()
    assert "stopped while it scanned the photographs" in said(monkeypatch, capsys, "status", tmp_path)[2]
    journal = Journal(tmp_path)
    journal.open()
    Runner(journal).at("scan", 3, 8, "photos")
    assert "is still at it: scan 3/8 photos" in said(monkeypatch, capsys, "status", tmp_path)[2]
