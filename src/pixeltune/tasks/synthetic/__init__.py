"""Tasks that make their own rows, from a seed, for the bundled model.

Imports only the parsers and `base` of `tasks`.
"""
