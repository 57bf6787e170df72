"""The one error that a user's input can cause."""


class UserError(Exception):
    """Bad input: one line that names what, where, and what was expected.

    The command line prints it and exits with status 2. Anything else that escapes is a failure of ours (status 1).

    >>> str(UserError("lanewise.toml: matrix.rows: must be 4 to 64, not 3"))
    'lanewise.toml: matrix.rows: must be 4 to 64, not 3'
    """


class UnmappedError(Exception):
    """The operator at hand has no kernel."""
