"""A thin gateway in front of any OpenAI-compatible engine: every PNG of a folder is a model name.

`gateway` is the way of a request through all the others: `keys` who may ask, `bodies` what is read and
changed in a request, `shelf` the folder of artworks, `upstreams` the engines that answer, `records` logs
and metrics; `server` is the process around it. Neither torch nor transformers is imported here.
"""
