"""The two ways in which a request can fail, and the codes by which a photograph is refused.

`UserError` ends a command with one line and an exit code; `Refused` concerns one photograph and becomes a row of
`rejects.jsonl`, while the run goes on. `REASONS` documents every code; the README's table is made from it.
"""

from __future__ import annotations

#: exit codes of the command line (README, "Exit codes")
EXIT_FAULTS, EXIT_USAGE, EXIT_IO, EXIT_INTERRUPTED = 1, 2, 3, 130

REASONS: dict[str, str] = {
    "source-changed": "the file's bytes differ from those that were planned",
    "source-missing": "the file was there when the build was planned and is not now",
    "licence-not-allowed": "the licence is not among those of --allow-licences",
    "near-duplicate-across-splits": "a near-duplicate of a photo that already belongs to another split",
    "crashed-worker": "the worker process died twice on this sample (out of memory, or killed)",
    "internal-error": "an unexpected error in this package; the detail names it; please report it",
}


class UserError(ValueError):
    """A request that cannot be carried out: one line that says what was wrong, where, and what to do."""

    def __init__(self, message: str, exit_code: int = EXIT_USAGE) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Refused(Exception):
    """A photograph that is left out, with its documented reason code and a detail for a person."""

    def __init__(self, reason: str, detail: str, stage: str = "scan") -> None:
        if reason not in REASONS:
            raise AssertionError(f"reason code {reason!r} is not documented in mattingmfif.errors.REASONS")
        super().__init__(reason, detail, stage)  # all three: an exception crosses processes by its arguments
        self.reason = reason
        self.detail = detail
        self.stage = stage

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"
