"""Errors that a user can act on, each with the exit code that scripts see.

Every message names the field or file that is wrong and the way out.
"""

from __future__ import annotations


class PoiseError(Exception):
    """Base of all expected errors; the command line prints the message without a traceback."""

    exit_code = 1


class InvalidInputError(PoiseError):
    """A manifest, an option or a file of the user's is wrong."""

    exit_code = 2


class StateError(PoiseError):
    """A state directory or artifact store is damaged, of another search, or cannot be written."""

    exit_code = 3


class CandidateError(PoiseError):
    """Candidate source breaks the contract, or fails while it runs."""

    exit_code = 4


class SandboxError(PoiseError):
    """Isolation could not be set up, or a limit was hit."""

    exit_code = 5


class EngineError(PoiseError):
    """Training or scoring failed for a reason that is not the candidate's."""

    exit_code = 6


class ClusterError(PoiseError):
    """kubectl is missing, or the cluster refused."""
