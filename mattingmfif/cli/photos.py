"""Commands about photographs."""

from __future__ import annotations

from pathlib import Path

import click

from mattingmfif.cli.group import FOLDER, cli


@cli.command()
@click.argument("folder", type=FOLDER)
def samples(folder: Path) -> None:
    """Write scikit-image's photographs into FOLDER, for whoever has none at hand (one with a measured depth map)."""
    from mattingmfif.photo.samples import write_samples

    for path in write_samples(folder):
        click.echo(path)
