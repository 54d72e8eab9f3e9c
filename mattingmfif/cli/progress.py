"""Progress on stderr."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from mattingmfif.dataset.planning import Progress


class Shown:
    """Progress on stderr: one line that renews itself on a terminal, plain lines every few seconds otherwise."""

    def __init__(self) -> None:
        self.terminal = sys.stderr.isatty()
        self.began = self.last = time.monotonic()
        self.stage, self.open_line = "", False
        self.first_done = 0

    def tell(self, step: Progress) -> None:
        """Show a step."""
        now = time.monotonic()
        if step.stage != self.stage:
            self.finish()
            self.stage, self.began, self.first_done = step.stage, now if step.done > 1 else self.began, step.done - 1
        final = step.done == step.total
        if not self.terminal and not final and now - self.last < 5:
            return
        self.last = now
        rate = (step.done - self.first_done) / max(now - self.began, 1e-3)
        left_s = (step.total - step.done) / max(rate, 1e-9)
        text = f"{step.stage} {step.done}/{step.total} {step.unit}"
        if step.samples:
            text += f", {step.samples} samples, {step.frames} frames"
        text += f", {rate:.2f}/s, {duration(left_s)} left" if not final else f" in {duration(now - self.began)}"
        click.echo(f"\r\x1b[K{text}" if self.terminal else text, nl=not self.terminal, err=True)
        self.open_line = self.terminal

    def finish(self) -> None:
        """Close the line that renews itself."""
        if self.open_line:
            click.echo("", err=True)
        self.open_line, self.stage = False, ""


def duration(seconds: float) -> str:
    """Hours and minutes, minutes and seconds, or seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return (
        f"{minutes // 60} h {minutes % 60} min"
        if minutes >= 60
        else f"{minutes} min {rest} s"
        if minutes
        else f"{rest} s"
    )
