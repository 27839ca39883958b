"""The one kind of error that is the user's to mend."""

__all__ = ["UserError"]


class UserError(Exception):
    """Bad input, said in words a person can act on: which file, line and field, and what to do.

    The command line prints the message alone, without a traceback, and exits with code 2.
    """
