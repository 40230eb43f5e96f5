"""What pixeltune refuses, as one class: the command line prints these in a line and lets all else be seen."""


class UserError(ValueError):
    """Something that the user gave cannot be used; the message names the problem and the remedy.

    Bugs, and errors of libraries, are not of this class: they keep their traceback.
    """


class RunError(UserError, RuntimeError):
    """A run that was stopped on purpose, or something that it needs is gone; the message names the remedy."""
