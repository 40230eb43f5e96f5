"""``pixeltune gallery``: a static page per run, to look at instead of reading logs.

Imports `artwork`, `data`, `tasks` and the reports of `evaluation`; torch and `model` only while a map of
squares is made.
"""
