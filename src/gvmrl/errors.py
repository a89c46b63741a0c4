"""The one exception that means: what the user gave cannot be used as it is."""


class InputError(ValueError):
    """A file, flag or setting that cannot be used.

    The message is one line that names the thing, its value, the bound and the remedy; the
    command line prints it without a traceback and exits with code 2.
    """
