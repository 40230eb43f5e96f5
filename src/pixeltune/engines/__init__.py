"""The client side of OpenAI-compatible engines: requests, and an `openai` client that sends an artwork along.

Imports neither torch nor transformers; of other rooms `artwork`, `data` and the parsers of `tasks`.
"""
