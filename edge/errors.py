"""The root of the errors that have their cause outside the program.

A missing file, a refused login, a full disk: the message is a sentence for the
operator, and the command line prints it without a traceback.
"""

from __future__ import annotations


class LineError(Exception):
    """Something the operator can put right; the message says what and where."""

    exit_code: int = 1
    """What the command line ends with: 1 failed at run time, 2 bad arguments or config."""
