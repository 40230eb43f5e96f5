"""How good is it: scores with intervals, comparisons on the same rows, proofs that a PNG does what it should.

Imports `adapter`, `model`, `tasks`, `engines` and what is below them; never `training`.
"""
