"""What help says a verb does where nothing is said is what its function does."""

from __future__ import annotations

import inspect

import pytest

from pixeltune.cli import check as check_verb
from pixeltune.cli import eval as eval_verb
from pixeltune.cli import mix as mix_verb
from pixeltune.cli import sample as sample_verb
from pixeltune.cli import serve as serve_verb
from pixeltune.cli.parser import Parser
from pixeltune.evaluation.check import check
from pixeltune.evaluation.evaluate import evaluate
from pixeltune.evaluation.mixing import mix
from pixeltune.evaluation.sampling import sample
from pixeltune.serve.server import serve

ELSEWHERE = {"eval": {"task", "compare"}, "check": {"rows"}, "mix": set(), "sample": set(), "serve": set()}
"""On the command line these say whether they were given."""


@pytest.mark.parametrize(
    ("verb", "function"),
    [(eval_verb, evaluate), (check_verb, check), (mix_verb, mix), (sample_verb, sample), (serve_verb, serve)],
)
def test_flags_have_the_function_s_defaults(verb, function):
    name = verb.__name__.rpartition(".")[2]
    parser = Parser(f"pixeltune {name}", verb.HELP)
    verb.add_arguments(parser)
    flags = {action.dest: action.default for action in parser._actions if not action.required}
    parameters = inspect.signature(function).parameters.values()
    usual = {one.name: one.default for one in parameters if one.default is not one.empty}
    both = (flags.keys() & usual.keys()) - ELSEWHERE[name]
    assert len(both) >= 8
    assert {word: flags[word] for word in both} == {word: usual[word] for word in both}


def test_the_number_that_check_s_help_names():
    usual = inspect.signature(check).parameters["rows"].default
    parser = Parser("pixeltune check", check_verb.HELP)
    check_verb.add_arguments(parser)
    assert f"(none: {usual})" in parser.format_help()
