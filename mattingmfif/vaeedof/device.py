"""Where a network runs: the device asked for, or the best there is."""

from __future__ import annotations

import torch

from mattingmfif.errors import UserError

DEVICES = ("auto", "cpu", "cuda")


def choose_device(wanted: str) -> torch.device:
    """The device of `auto`, `cpu` or `cuda` (also `cuda:1`); auto is CUDA where it works; UserError if it does not."""
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if wanted.partition(":")[0] not in DEVICES:
        raise UserError(f"--device {wanted}: not known; use {', '.join(DEVICES)}")
    if wanted.startswith("cuda"):
        if not torch.cuda.is_available():
            raise UserError("--device cuda: this machine, or this build of torch, has no CUDA device; use --device cpu")
        number = wanted.partition(":")[2]
        if number and not (number.isdigit() and int(number) < torch.cuda.device_count()):
            raise UserError(f"--device {wanted}: there are {torch.cuda.device_count()} CUDA devices, numbered from 0")
    elif wanted != "cpu":
        raise UserError(f"--device {wanted}: not known; use {', '.join(DEVICES)}")
    return torch.device(wanted)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The context in which a network computes: bfloat16 where precision says so, `auto` being CUDA only."""
    low = precision == "bfloat16" or (precision == "auto" and device.type == "cuda")
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=low)
