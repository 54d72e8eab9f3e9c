"""The group to which every command belongs."""

from __future__ import annotations

from pathlib import Path

import click

from mattingmfif import __version__

DEFAULT_RECIPE = "mattingmfif-4k"
#: a folder given on the command line
FOLDER = click.Path(file_okay=False, path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mattingmfif")
def cli() -> None:
    """Training data for multi-focus image fusion, made from real photographs."""
