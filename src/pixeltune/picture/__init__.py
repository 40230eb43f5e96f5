"""The trainable picture and what it may look like: canvas, parametrisations, start pictures, style.

Imports torch and Pillow, and no other room: it knows no model.
"""
