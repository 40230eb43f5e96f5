"""What a run took, as the last entry of its log has it: reading it, and saying it in a line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

LEDGER = "ledger"
"""The name of it in an entry of the log."""

TRAINING = "steps", "rollouts"
"""Parts of a run whose operations are `total_flos`; scores of held-out rows are what somebody wanted to know."""

PARTS = *TRAINING, "scores", "other"

_UNITS = ((1e18, "EFLOP"), (1e15, "PFLOP"), (1e12, "TFLOP"), (1e9, "GFLOP"), (1e6, "MFLOP"))
_MOST = 1e30


def ledger_of(history: Sequence[Any]) -> dict[str, Any] | None:
    """The ledger of a finished run's log; None where there is none.

    Args:
        history: entries as a stranger might have written them; of a ledger only its numbers are taken, and those of
            its parts.
    """
    for entry in reversed(history):
        if isinstance(entry, Mapping) and isinstance(entry.get(LEDGER), Mapping):
            return _numbers(entry[LEDGER])
    return None


def _numbers(found: Mapping[str, Any]) -> dict[str, Any]:
    parts = {name: value for name, value in found.items() if isinstance(value, Mapping)}
    plain = {name: value for name, value in found.items() if _is_number(value)}
    return plain | {
        name: {part: value for part, value in values.items() if _is_number(value)}
        for name, values in parts.items()
    }


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= _MOST


def said(ledger: Mapping[str, Any]) -> str:
    """A ledger in a line, from `ledger_of`; what it does not have is left out."""
    facts = []
    for kind, of in (("", "learned from"), ("rollout_", "of rollouts")):
        prompt, completion = (ledger.get(f"{kind}{name}_tokens") for name in ("prompt", "completion"))
        if prompt is not None and completion is not None:
            facts.append(f"{prompt:,} prompt and {completion:,} completion tokens {of}")
    if (pictures := ledger.get("picture_encodings")) is not None:
        facts.append(f"{pictures:,} picture encodings")
    for way in ("forward", "backward"):
        parts = ledger.get(f"{way}_flops")
        if isinstance(parts, Mapping):
            beside = [name for name in PARTS if name not in TRAINING and parts.get(name)]
            asides = ", ".join(f"{flops(parts[name])} {name}" for name in beside)
            total = flops(sum(parts.get(name, 0) for name in TRAINING))
            facts.append(f"{total} {way}{f' (and {asides})' if asides else ''}")
    seconds = ledger.get("seconds")
    if isinstance(seconds, Mapping):
        parts = [f"{name} {seconds[name]:,.1f}" for name in PARTS if name in seconds]
        facts.append(f"seconds: {', '.join(parts)}")
    return "; ".join(facts)


def flops(operations: float) -> str:
    """Operations with their unit, three digits."""
    size, unit = next((one for one in _UNITS if operations >= one[0]), (1.0, "FLOP"))
    return f"{operations / size:.3g} {unit}"
