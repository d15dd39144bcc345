"""The one error a user is meant to see."""


class BadInput(ValueError):
    """Something the user gave is wrong; the message is one line that names it and the remedy.

    The command line prints the message and exits with code 2, without a traceback.
    """
