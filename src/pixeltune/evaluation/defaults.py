"""What an evaluation does where nothing is said, for functions and for the help of their verbs. Needs no torch."""

from __future__ import annotations

ROWS = 200
"""Held-out rows that are scored."""

MIX_ROWS = 100
"""Held-out rows that averages of artworks are chosen by."""

BATCH_SIZE = 100
"""Rows at a time in this process."""

CONCURRENCY = 16
"""Requests at a time to an engine."""

TOOL_CHOICE = "none"
"""Sent with tools, so that an engine gives the raw text."""

OUTPUT_DIR = "runs/eval"
"""Folder of a report."""

PROMPTS = 8
"""Prompts that an engine is compared on."""

TOLERANCE = 1e-3
"""Largest gap of a token's log-prob, in nats, between an engine and the model here."""

SAMPLES = 8
"""Answers that are drawn to each prompt, as many as GRPO's groups have."""

TEMPERATURE = 1.0
"""They are drawn at: the model's own distribution."""
