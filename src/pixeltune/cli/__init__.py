"""The command line: a file per verb, each a thin layer over a function that a notebook can call.

Imports every room, but only when a verb needs it.
"""
