import pytest

from mattingmfif.errors import UserError
from mattingmfif.matting import MattingSettings


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("segmenter", "magic"),
        ("plate_fill", "lama"),
        ("max_subjects", 7),
        ("max_subjects", 0),
        ("tail", 0.5),
        ("min_contour_score", 1.5),
        ("band_outer_px", 0),
        ("grow_rounds", -1),
    ],
)
def test_impossible_values_name_key_value_and_what_is_allowed(key, value):
    with pytest.raises(UserError, match=f"{key}: .*{value}.*allowed"):
        MattingSettings(**{key: value})


def test_the_defaults_are_allowed():
    assert MattingSettings().segmenter == "auto"
