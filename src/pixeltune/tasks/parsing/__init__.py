"""Reading completions: numbers, letters, tool calls, schemas of tools; one parser for reward and score.

Imports of its room `tasks.base`, of others nothing.
"""
