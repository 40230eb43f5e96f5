"""What people keep: an artwork is one RGB PNG that carries its own provenance.

Imports neither torch nor transformers; of other rooms `picture`, and of that only files without torch.
"""
