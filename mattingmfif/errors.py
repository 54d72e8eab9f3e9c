"""The two ways in which a request can fail, and the codes by which a photograph is refused.

`UserError` ends a command with one line and an exit code; `Refused` concerns one photograph and becomes a row of
`rejects.jsonl`, while the run goes on. `REASONS` documents every code; the README's table is made from it.
"""

from __future__ import annotations

#: exit codes of the command line (README, "Exit codes")
EXIT_FAULTS, EXIT_USAGE, EXIT_IO, EXIT_INTERRUPTED = 1, 2, 3, 130

REASONS: dict[str, str] = {
    "source-changed": "the file's bytes differ from those that were planned",
    "empty-file": "the file has no bytes",
    "not-an-image": "no image format is recognised in the file",
    "wrong-suffix": "the content is of another format than the file's name says",
    "damaged": "the file is truncated or broken and cannot be decoded to its end",
    "several-frames": "an animation, or a file of several pages",
    "duplicate": "the same file, or the same picture saved again, as another photograph of the folder",
    "too-many-pixels": "more pixels than the limit allows",
    "too-small": "the long side is shorter than the recipe's least (photos are never enlarged)",
    "too-narrow": "the short side is too short, or the picture too long and thin",
    "transparent": "the picture has transparent pixels; a cut-out belongs beside the photo as name.alpha.png",
    "cmyk-without-profile": "CMYK inks without a colour profile have no defined colours",
    "unsupported-profile": "the colour profile is damaged, or of a kind that cannot be applied to these pixels",
    "unsupported-format": "a format that needs an extra which is not installed (HEIC: mattingmfif[heic])",
    "unsupported-pixels": "pixels of a kind that is not read (floating point, Lab, ...)",
    "unreadable": "the operating system cannot read the file",
    "bad-name": "the file's name is not valid UTF-8",
    "overruled": "a person refuses it in overrides.csv",
    "soft": "large structured areas are out of focus: the photo has a shallow depth of field",
    "featureless": "next to nothing in the photo has structure: it looks the same in and out of focus",
    "grainy": "more sensor grain than denoising can take away",
    "no-subject": "no region is found (or given) that could be cut out: no outline lies on image edges",
    "empty-matte": "the matte is 0 everywhere, or matting left nothing of the subject",
    "full-matte": "the matte is 1 everywhere: nothing is left behind the subject",
    "inverted-matte": "the matte is white around the subject instead of on it",
    "touches-all-borders": "the matte runs into all four borders, so nothing of the background surrounds it",
    "matte-size": "the matte has another size than the photo",
    "two-mattes": "two files are the same matte, or plate, under two names: one of them has to go",
    "matte-unreadable": "the matte's file cannot be decoded, or holds no usable numbers",
    "colour-matte": "the matte has colours; a matte is grey, or the alpha channel of a cut-out",
    "box-invalid": "the box file is not four numbers a line inside the photo",
    "uncertain-matte": "too much of the subject came out half transparent, or its outline is on no edge",
    "residual": "the layers put together again differ too much from the photo",
    "depth-size": "the depth map has another shape than the photo, or is far too coarse for it",
    "depth-unreadable": "the depth file cannot be decoded, or is of a kind that is not read",
    "depth-unknown": "the depth map holds no usable distance",
    "source-missing": "the file was there when the build was planned and is not now",
    "licence-not-allowed": "the licence is not among those of --allow-licences",
    "near-duplicate-across-splits": "a near-duplicate of a photo that already belongs to another split",
    "no-usable-subject": "no usable subject, no depth map, and the recipe allows no ground scene for such photos",
    "depth-too-near": "the depth map has surfaces nearer than twice the focal length of the recipe's lens",
    "depth-unusable": "the depth map says nothing about one of the layers, or of nothing that could be out of focus",
    "composite-too-small": "a composite scene's background has no room for the margin of the largest blur",
    "composite-no-cut-out": "none of a composite scene's other photos gave a usable cut-out",
    "crashed-worker": "the worker process died twice on this sample (out of memory, or killed)",
    "internal-error": "an unexpected error in this package; the detail names it; please report it",
}


class UserError(ValueError):
    """A request that cannot be carried out: one line that says what was wrong, where, and what to do."""

    def __init__(self, message: str, exit_code: int = EXIT_USAGE) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Refused(Exception):
    """A photograph that is left out, with its documented reason code and a detail for a person."""

    def __init__(self, reason: str, detail: str, stage: str = "scan") -> None:
        if reason not in REASONS:
            raise AssertionError(f"reason code {reason!r} is not documented in mattingmfif.errors.REASONS")
        super().__init__(reason, detail, stage)  # all three: an exception crosses processes by its arguments
        self.reason = reason
        self.detail = detail
        self.stage = stage

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"
