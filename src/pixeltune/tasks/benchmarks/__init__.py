"""Tasks whose rows are public data, from the hub or from a folder, scored by published rules.

Imports of its room `tasks.base` and `tasks.parsing`, of others nothing.
"""
