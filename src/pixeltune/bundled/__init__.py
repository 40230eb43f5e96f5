"""The models that pixeltune makes itself, each with its weights and the recipe that made them.

They import `picture`, `artwork`, `tasks`, `model`, `evaluation` and `training`, and only the command line imports
them; `snapshot` is what both recipes keep to go on from.
"""
