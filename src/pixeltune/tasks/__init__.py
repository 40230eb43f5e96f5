"""Tasks: each owns its rows, its reward and its score, and one parser serves both.

Imports neither torch nor transformers; of other rooms only `data`.
"""
