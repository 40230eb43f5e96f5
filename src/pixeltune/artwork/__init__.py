"""What people keep: an artwork is one RGB PNG that carries its own provenance.

Imports neither torch nor transformers; of pixeltune only `picture`'s files.
"""
