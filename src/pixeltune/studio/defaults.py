"""What the studio does where nothing is said. Needs no Gradio."""

HOST, PORT = "127.0.0.1", 7860
OUTPUT_DIR = "runs/studio"

UPLOADS = "uploads"
"""The folder in the output_dir for files that people bring."""

MAX_UPLOAD = 64 << 20
"""Bytes of one file that people bring."""

MAX_QUESTION = 20_000
"""Characters of a question."""
