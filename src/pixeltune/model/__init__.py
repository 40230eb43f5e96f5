"""The frozen model: loading it, how it sees a picture, what differs between families, the shared prefix.

Imports torch, transformers, `picture` and `data`; knows neither PEFT nor TRL.
"""
