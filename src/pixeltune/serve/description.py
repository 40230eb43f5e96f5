"""The gateway's OpenAPI description, served at /openapi.json."""

from __future__ import annotations

from typing import Any

from pixeltune.serve.gateway import PASSED_ON, TAKES_ARTWORK
from pixeltune.version import __version__

REFUSALS = {
    "400": "the request cannot be understood, or asks for what there is not",
    "401": "no valid API key",
    "403": "this key does not open that",
    "404": "no such model",
    "408": "the body did not come in time",
    "413": "the body is too large",
    "415": "the body is compressed",
    "422": "the engine cannot process it",
    "429": "the engines are busy",
    "500": "the engine failed",
    "501": "the engine cannot do that",
    "502": "the engine is gone, or sends garbage",
    "503": "no engine is reachable, or the artwork is broken",
    "504": "the engine did not answer in time",
}


def describe() -> dict[str, Any]:
    """OpenAPI 3.1. Bodies are the engine's; here they need `model`, and for an artwork a user message."""
    error = {
        "description": "",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    }
    refused = {status: {**error, "description": text} for status, text in REFUSALS.items()}
    message = {"type": "object", "properties": {"role": {"type": "string"}}, "required": ["role"]}
    needs: dict[str, dict[str, Any]] = {
        "chat/completions": {"messages": {"type": "array", "items": message, "minItems": 1}},
        "responses": {
            "input": {"anyOf": [{"type": "string"}, {"type": "array", "items": message, "minItems": 1}]}
        },
    }
    paths: dict[str, Any] = {}
    for path in (*TAKES_ARTWORK, *PASSED_ON):
        own = needs.get(path, {})
        body = {
            "type": "object",
            "properties": {"model": {"type": "string", "minLength": 1}, **own},
            "required": ["model", *own],
        }
        paths[f"/v1/{path}"] = {
            "post": {
                "operationId": path.replace("/", "_"),
                "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
                "responses": {
                    "200": _answer("the engine's answer", "text/event-stream", "application/json"),
                    **refused,
                },
            }
        }
    for path, what in {
        "/v1/models": "base models and artworks",
        "/v1/models/{name}": "one of them",
        "/healthz": "the gateway runs",
        "/readyz": "an engine is reachable, and the gateway is not about to end",
        "/metrics": "Prometheus metrics",
    }.items():
        kind = "text/plain" if path == "/metrics" else "application/json"
        named = [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}]
        paths[path] = {
            "get": {
                "operationId": path.strip("/").replace("/", "_").replace("{name}", "one"),
                "parameters": named if "{name}" in path else [],
                "responses": {
                    "200": _answer(what, kind),
                    **{status: refused[status] for status in ("401", "403", "404", "503")},
                },
            }
        }
    paths["/readyz"]["get"]["responses"]["503"] = _answer(
        "no engine is reachable, or the gateway is about to end", "application/json"
    )
    details = {name: {"type": ["string", "null"]} for name in ("type", "param", "code")}
    problem = {
        "type": "object",
        "properties": {"message": {"type": "string"}, **details},
        "required": ["message"],
    }
    schema = {"type": "object", "properties": {"error": problem}, "required": ["error"]}
    return {
        "openapi": "3.1.0",
        "info": {"title": "pixeltune gateway", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": {"Error": schema},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}, {}],  # without keys of its own, it asks for none
    }


def _answer(what: str, *kinds: str) -> dict[str, Any]:
    return {"description": what, "content": {kind: {} for kind in kinds}}
