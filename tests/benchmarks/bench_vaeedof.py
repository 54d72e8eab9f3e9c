"""Time and memory of fusing N frames with the architectures of both recipes; not collected by pytest.

python tests/benchmarks/bench_vaeedof.py [FRAMES HEIGHT WIDTH [THREADS]]    (7 2160 3840 2 by default)
"""

from __future__ import annotations

import resource
import sys
import time

import torch

from mattingmfif.vaeedof.cost import model_cost
from mattingmfif.vaeedof.model import VAEEDOF
from mattingmfif.vaeedof.settings import load_train_recipe
from mattingmfif.vaeedof.tiles import fuse_pictures


def main() -> None:
    """Fuse random frames with both architectures and print what it took."""
    frames, height, width, threads = [
        int(word) for word in [*sys.argv[1:5], *["7", "2160", "3840", "2"][len(sys.argv) - 1 :]]
    ]
    torch.set_num_threads(threads)
    pictures = torch.rand(frames, 3, height, width) * 2 - 1
    for name in ("vaeedof-cpu", "vaeedof-gpu"):  # the first is in the package
        settings = load_train_recipe(name).model
        model = VAEEDOF(settings).eval()
        print(f"--- {name}, {threads} threads\n{model_cost(settings, height, width, frames).text()}\n{model.reach()}")
        for precision in ("bfloat16", "float32"):
            began, used = time.monotonic(), time.process_time()
            fuse_pictures(model, pictures, precision=precision)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
            print(
                f"{precision}: {time.monotonic() - began:.1f} s, {time.process_time() - used:.1f} CPU-s, "
                f"peak of the process so far {peak:.2f} GB",
                flush=True,
            )


if __name__ == "__main__":
    main()
