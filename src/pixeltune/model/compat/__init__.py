"""Every touch of the insides of transformers, torchvision, torch and bitsandbytes: one function each, with the
reason, a link and the version.

Imports those libraries, where possible only when they are needed; of pixeltune its errors.
"""
