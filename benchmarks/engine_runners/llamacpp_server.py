"""Runs in llama.cpp's environment: its own server, in this process, until stdin ends.

.venv-llama.cpp/bin/python llamacpp_server.py MODEL.gguf MMPROJ.gguf PORT f32|default
"""

import sys

import xllamacpp


def main() -> None:
    model, projector, port, cache = sys.argv[1:]
    params = xllamacpp.CommonParams()
    params.model.path, params.mmproj.path = model, projector
    params.hostnames, params.port = ["127.0.0.1"], int(port)
    params.n_ctx, params.n_parallel, params.cpuparams.n_threads, params.use_jinja = 4096, 1, 1, True
    if cache == "f32":  # llama.cpp keeps keys and values in 16 bits unless told otherwise
        params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()
    del server


if __name__ == "__main__":
    main()
