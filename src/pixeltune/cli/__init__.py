"""The command line: a file per verb, each a thin layer over a function that a notebook can call.

Imports what a verb needs when it is needed: `picture`, `artwork`, `tasks`, `model`, `evaluation`, `training`,
`serve`, `gallery`, `studio`, `bundled`.
"""
