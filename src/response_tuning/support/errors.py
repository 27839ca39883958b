"""Errors caused by user input."""

__all__ = ["UserError"]


class UserError(Exception):
    """An error caused by user input, with a message that names the file, line and field, and what to do.

    The command line prints the message without a traceback (unless ``--debug``) and exits with code 2.
    """
