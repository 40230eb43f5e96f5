"""Every touch of the insides of TRL, of transformers' trainer and of accelerate: one function each, with the
reason, a link and the version. `tests/compat/test_training_insides.py` holds each name and signature.

May import those libraries, and of pixeltune only `errors` and `model/compat`.
"""
