"""Every touch of transformers' and torchvision's insides: one function each, with reason, link and version.

Imports torch and transformers; of pixeltune nothing.
"""
