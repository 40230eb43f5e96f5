"""``pixeltune demo``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from pixeltune.errors import UserError

HELP = "paint two artworks for the bundled model and show that they work"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--output_dir", default="runs/demo", help="folder to write to")
    parser.add_argument("--rows", type=int, default=200, help="held-out rows per task")
    parser.add_argument("--steps", type=int, help="optimiser steps per artwork, if not the demo's own")
    parser.add_argument("--seed", type=int, default=42, help="of the training rows' order")


def run(arguments: Namespace) -> int:
    if arguments.rows < 1 or (arguments.steps is not None and arguments.steps < 1):
        raise UserError("--rows and --steps must be at least 1")
    from pixeltune.bundled.tiny.demo import demo

    report = demo(arguments.output_dir, rows=arguments.rows, steps=arguments.steps, seed=arguments.seed)
    return int(not report["passed"])
