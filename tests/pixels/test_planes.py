from pathlib import Path

import numpy as np

from mattingmfif.pixels.planes import zeros_where_untouched


def resident_mb() -> float:
    """Memory that this process holds; 0 where the system does not say."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return sum(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))


def test_a_plane_is_zero_and_can_be_written_to_at_any_size():
    for shape in ((0, 5), (3, 4), (700, 900), (700, 900, 3)):
        plane = zeros_where_untouched(shape)
        assert plane.shape == shape
        assert plane.dtype == np.float32
        assert not plane.any()
        plane[...] = 2
        assert (plane == 2).all()


def test_only_what_is_written_takes_memory():
    kept = np.zeros((4000, 4000, 3), np.float32)  # freed memory that is used again would be counted
    kept[...] = 1
    del kept
    before = resident_mb()
    plane = zeros_where_untouched((4000, 4000, 3))  # 183 MB
    assert float(plane.max()) == 0.0  # nor does reading
    plane[1000:1500, 1000:2000] = 1
    assert resident_mb() - before < 30
