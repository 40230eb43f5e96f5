"""What stand-ins for engines have in common: OpenAI's JSON over HTTP."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler


class Replies(BaseHTTPRequestHandler):
    """Reads a chat request and replies as an engine does; who answers what is a stand-in's own matter."""

    def asked(self) -> dict:
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def list_models(self, *names: str) -> None:
        self._send({"object": "list", "data": [{"id": name, "object": "model"} for name in names]})

    def say(self, text: str, tokens: int) -> None:
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        usage = {"prompt_tokens": 5, "completion_tokens": tokens, "total_tokens": 5 + tokens}
        self._send({"id": "1", "object": "chat.completion", "choices": [choice], "usage": usage})

    def _send(self, answer: dict) -> None:
        text = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_) -> None:
        pass
