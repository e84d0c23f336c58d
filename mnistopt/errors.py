"""The one exception for what a person gave that cannot be used."""


class InputError(ValueError):
    """A flag, argument or file that cannot be used.

    Its message says what was given, what is expected and what to do about it. The
    programs print the message and exit with code 2.
    """
