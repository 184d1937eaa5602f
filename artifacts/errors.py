"""The two kinds of failure a user meets; everything else is a bug and keeps its traceback."""


class InputError(ValueError):
    """Bad input, found before any work: one line saying what, where and what would be valid.

    The command line ends with status 2.
    """


class DatasetError(RuntimeError):
    """One dataset cannot be built; the others go on. The command line ends with status 1."""
