"""Messages of a conversation, as OpenAI's clients and chat templates know them."""

from __future__ import annotations

from typing import Any

Message = dict[str, Any]
