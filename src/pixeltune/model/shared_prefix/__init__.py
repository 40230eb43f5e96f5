"""What the rows of a batch begin with is computed once, exactly: tree of the batch, pass over it, cache.

Imports torch and transformers; of its room `model.compat` and `model.sharding`, of others nothing.
"""
