"""Tasks whose rows are public data, from the hub or from a folder, scored by published rules.

Imports only the parsers and `base` of `tasks`.
"""
