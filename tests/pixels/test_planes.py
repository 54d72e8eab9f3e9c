import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mattingmfif.pixels.planes import extremes, zeros_where_untouched

#: memory held, in MB, after a plane of 183 MB is made where as much was freed before, as a worker of `build` does it
HELD = """
import numpy as np
from pathlib import Path
from mattingmfif.dataset.threads import keep_freed_memory
from mattingmfif.pixels.planes import zeros_where_untouched as {name}

def held_mb():
    lines = Path("/proc/self/status").read_text().splitlines()
    return sum(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))

keep_freed_memory()
first = np.full((4000, 4000, 3), 1, np.float32)
before = held_mb()
del first
plane = {make}((4000, 4000, 3))
assert float(plane.max()) == 0.0  # nor does reading take any
plane[1000:1500, 1000:2000] = 1
again = np.full((4000, 4000, 3), 1, np.float32)  # what was freed serves it, unless the plane took that
print(held_mb() - before)
"""


def test_a_plane_is_zero_and_can_be_written_to_at_any_size():
    for shape in ((0, 5), (3, 4), (700, 900), (700, 900, 3)):
        for share in (None, 0.1, 0.6, 1.0):  # small pages, small ones, large ones, a plain array
            window = None if share is None else (slice(0, int(share * shape[0])), slice(0, int(share * shape[1])))
            plane = zeros_where_untouched(shape, window)
            assert plane.shape == shape
            assert plane.dtype == np.float32
            assert not plane.any()
            plane[...] = 2
            assert (plane == 2).all()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux says what memory a process holds")
@pytest.mark.parametrize(("make", "most_mb"), [("zeros_where_untouched", 30), ("np.zeros", 1000)])
def test_only_what_is_written_takes_memory(make, most_mb):
    script = HELD.format(name="zeros_where_untouched", make=make)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    more_mb = float(done.stdout)
    assert more_mb < most_mb
    assert make != "np.zeros" or more_mb > 100  # the measurement sees planes that do take it


def test_extremes_are_the_least_and_the_most_and_nan_wherever_one_is():
    plane = np.random.default_rng(0).random((300, 701), np.float32)
    plane[299, 700], plane[0, 0] = -3, 5
    assert extremes(plane) == (-3, 5)
    assert extremes(np.zeros((0, 3), np.float32)) == (0, 0)
    plane[150, 8] = np.nan
    assert np.isnan(extremes(plane)).all()
