"""Tasks that make their own rows, from a seed, for the bundled model.

Imports of its room `tasks.base`, `tasks.parsing` and `tasks.visual`, of others nothing.
"""
