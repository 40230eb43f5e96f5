"""Painting: TRL's trainers, unmodified, around a frozen model that wears one canvas.

Imports TRL, and `picture`, `artwork`, `data`, `tasks`, `engines`, `model`, `adapter` and `evaluation`.
"""
