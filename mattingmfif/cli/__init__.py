"""The command line: each command parses its words, calls one function and prints. Everything heavy is imported inside.

    photos     samples, scan
    lens       blur
    build      plan, build, index, status
    dataset    verify, audit, preview, card, recipes
    vaeedof    train, fuse, evaluate

Exit codes: 0 done (refused photographs allowed), 1 faults found or no sample made, 2 usage, recipe or a foreign output
folder, 3 input/output (can be resumed), 130 interrupted.
"""

from __future__ import annotations

import signal
import sys
from typing import Any

import click

from mattingmfif.cli import build, dataset, lens, photos, vaeedof
from mattingmfif.cli.group import cli
from mattingmfif.errors import EXIT_INTERRUPTED, EXIT_IO, EXIT_USAGE, UserError

__all__ = ["build", "cli", "dataset", "lens", "main", "photos", "vaeedof"]


def main() -> None:
    """Run the command line and leave with its exit code."""
    signal.signal(signal.SIGTERM, _terminated)
    try:
        code = cli.main(prog_name="mattingmfif", standalone_mode=False)
    except click.exceptions.Exit as leave:
        code = leave.exit_code
    except click.ClickException as error:
        command = getattr(getattr(error, "ctx", None), "command_path", "") or "mattingmfif"
        help_hint = f"; see `{command} --help`" if isinstance(error, click.UsageError) else ""
        click.echo(f"mattingmfif: {' '.join(error.format_message().split()).rstrip('.')}{help_hint}", err=True)
        code = EXIT_USAGE
    except UserError as error:
        click.echo(f"mattingmfif: {error}", err=True)
        code = error.exit_code
    except (KeyboardInterrupt, click.exceptions.Abort):
        click.echo(
            "mattingmfif: interrupted; run the same command again: build, train and ablate go on where they stopped",
            err=True,
        )
        code = EXIT_INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output left; nothing is wrong
        code = 0
    except OSError as error:
        click.echo(f"mattingmfif: {error.filename or 'input/output'}: {error.strerror or error}", err=True)
        code = EXIT_IO
    sys.exit(code if isinstance(code, int) else 0)


def _terminated(*_: Any) -> None:
    raise KeyboardInterrupt
