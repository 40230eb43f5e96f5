"""How good is it: scores with intervals, comparisons on the same rows, proofs that a PNG does what it should.

Imports `picture`, `artwork`, `data`, `tasks`, `engines`, `model` and `adapter`, never what paints.
"""
