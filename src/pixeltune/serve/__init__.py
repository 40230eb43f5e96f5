"""A thin gateway in front of any OpenAI-compatible engine: every PNG of a folder is a model name.

`proxy` is the way of a request, from `intake` on, and `reply` the way back, with `events` and `decoding` of
what engines send; `gateway` what requests share: `keys` who may ask, `shelf` the artworks, `folder` the look
for their files, `hub` those of the hub, `upstreams` the engines, `bodies` what is changed in a request,
`pictures` how large those in it may be, `telemetry` logs and metrics. `server` is the process, `routes` its
paths, `protocol` its bounds on connections, `ending` its end, `description` its OpenAPI. For other people's
gateways: `named` puts artworks into requests, `middleware` and `litellm_hook` bring it there. Imports neither
torch nor transformers; of other rooms `picture`, `artwork`, `data` and `engines`.
"""
