"""Painting: TRL's trainers, unmodified, around a frozen model that wears one canvas.

Imports TRL and every room but `serve`, `gallery`, `tiny` and `cli`.
"""
