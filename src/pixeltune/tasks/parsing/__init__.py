"""Reading completions: numbers, letters, tool calls, schemas of tools; one parser for reward and score.

Imports only the standard library.
"""
