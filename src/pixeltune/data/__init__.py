"""Rows of users: reading them, the artwork's place in them, pictures and words that go along.

Imports neither torch nor transformers; of other rooms `picture`, and of that only files without torch.
"""
