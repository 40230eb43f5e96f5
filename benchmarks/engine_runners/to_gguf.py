"""Runs in llama.cpp's environment: converts the bundled model with llama.cpp's own converter.

    .venv-llama.cpp/bin/python to_gguf.py SOURCES MODEL_FOLDER --outtype f32 --outfile MODEL.gguf [--mmproj]

The converter knows a tokenizer by the hash of what it makes of a test sentence, and the bundled vocabulary is
nobody else's. Its pre-tokenizer is Qwen's, so the converter is told that; for published models it finds out
itself.
"""

import runpy
import sys


def main() -> None:
    sources, *rest = sys.argv[1:]
    sys.path[:0] = [sources, f"{sources}/gguf-py"]
    from conversion.base import TextModel

    TextModel.get_vocab_base_pre = lambda self, tokenizer: "qwen2"
    sys.argv = [f"{sources}/convert_hf_to_gguf.py", *rest]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
