"""The trainable picture and what it may look like: canvas, parametrisations, start pictures, style.

Imports torch and Pillow, and nothing of pixeltune but its smallest helpers: it knows no model.
"""
