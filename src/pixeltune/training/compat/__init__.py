"""Every touch of the insides of TRL, of transformers' trainer and of accelerate: one function each, with the
reason, a link and the version. `tests/compat/test_training_insides.py` holds each name and signature.

Imports those libraries, of other rooms `model` (its compat), of pixeltune nothing else.
"""
