"""Which parts of a photograph become layers: given by the user, by a model on disk, or found on image edges.

`Subjects` hold masks at the photo's size, as found; nothing is ordered yet. A photo in which nothing acceptable is
found is `Refused`, with what was looked at in the detail.
"""

from __future__ import annotations

import numpy.typing as npt

from mattingmfif.errors import Refused, UserError
from mattingmfif.matting.accepted import accepted_srgb
from mattingmfif.matting.classical import classical_subjects
from mattingmfif.matting.given import subjects_from_user
from mattingmfif.matting.models import available_model, subjects_from_model
from mattingmfif.matting.settings import MattingSettings
from mattingmfif.matting.subjects import Subjects, UserInput


def choose_segmenter(settings: MattingSettings, *, any_given: bool) -> tuple[str, str]:
    """(segmenter, why) for a whole build: `auto` is decided once, at plan time, and recorded."""
    if settings.segmenter != "auto":
        return settings.segmenter, "named in the recipe or on the command line"
    model = available_model(settings.rembg_model)
    if model is not None:
        return "rembg", f"the weights of {model.name} are on disk"
    given = "given mattes where there are some; " if any_given else ""
    return "classical", f"{given}no weights of an allow-listed rembg model are on disk (or rembg is not installed)"


def find_subjects(
    photo_srgb: npt.ArrayLike, settings: MattingSettings | None = None, user: UserInput | None = None
) -> Subjects:
    """The subjects of a photo `[H,W,3]` (sRGB 0..1). What the user gives always counts, before any segmenter.

    Raises `Refused` with `no-subject`, or with the reason why a given matte cannot be used; ValueError for a photo of
    another shape or scale.
    """
    settings = settings or MattingSettings()
    photo_srgb = accepted_srgb(photo_srgb)
    if user is not None and user.says_something:
        return subjects_from_user(photo_srgb, settings, user)
    segmenter = settings.segmenter
    if segmenter == "auto":
        segmenter, _ = choose_segmenter(settings, any_given=False)
    if segmenter == "given":
        raise Refused(
            "no-subject", "no matte, mask, trimap, box or scribbles are given for this photo", stage="segment"
        )
    if segmenter == "rembg":
        return subjects_from_model(photo_srgb, settings)
    if segmenter == "classical":
        return classical_subjects(photo_srgb, settings)
    raise UserError(f"segmenter: {segmenter!r} is unknown")
