"""The catalogue of what the static policy refuses, each with its code, and of what it must not refuse."""

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poise_lib.algorithms.allowed import MAX_CHARACTERS, MAX_DEPTH
from poise_lib.verification.policy import check_source
from poise_lib.verification.violations import Code

PREAMBLE = """import math
import torch
import torch.nn.functional as F
from poise_lib.algorithms import ops
from poise_lib.algorithms.contract import Family, Hyperparameter, LossOutput, Mechanism
"""


def in_function(body: str) -> str:
    lines = "\n    ".join(body.splitlines())
    return f"{PREAMBLE}\ndef advantages(batch, hyper):\n    {lines}\n"


REFUSED_IN_FUNCTIONS = {
    # Ways to the outside through what is allowed.
    "torch.os.system('id')": Code.MODULE_ATTRIBUTE,
    "torch.load('x')": Code.MODULE_ATTRIBUTE,
    "torch.save(batch, 'x')": Code.MODULE_ATTRIBUTE,
    "torch.hub.load('a', 'b')": Code.MODULE_ATTRIBUTE,
    "torch.utils.data": Code.MODULE_ATTRIBUTE,
    "torch.compile(batch)": Code.MODULE_ATTRIBUTE,
    "torch.set_num_threads(64)": Code.MODULE_ATTRIBUTE,
    "torch.set_default_dtype(torch.float64)": Code.MODULE_ATTRIBUTE,
    "torch.manual_seed(0)": Code.MODULE_ATTRIBUTE,
    "torch.randn(3)": Code.MODULE_ATTRIBUTE,
    "torch.autograd.grad(batch, hyper)": Code.MODULE_ATTRIBUTE,
    "torch.classes.load_library('x')": Code.MODULE_ATTRIBUTE,
    "torch.empty(3)": Code.MODULE_ATTRIBUTE,
    "math.__loader__": Code.UNDERSCORE,
    "ops.torch.load('x')": Code.MODULE_ATTRIBUTE,
    "ops._scatter(batch, hyper)": Code.UNDERSCORE,
    "F.torch": Code.MODULE_ATTRIBUTE,
    "F.relu(batch.rewards, True)": Code.MODULE_ATTRIBUTE,
    "F.dropout(batch.rewards)": Code.MODULE_ATTRIBUTE,
    "x = torch": Code.MODULE_AS_VALUE,
    "return [torch][0].load": Code.MODULE_AS_VALUE,
    "batch.rewards.numpy().tofile('x')": Code.ATTRIBUTE,
    "batch.rewards.data": Code.ATTRIBUTE,
    "batch.rewards.storage()": Code.ATTRIBUTE,
    "batch.rewards.backward()": Code.ATTRIBUTE,
    "batch.rewards.register_hook(hyper)": Code.ATTRIBUTE,
    "batch.rewards.apply(hyper)": Code.ATTRIBUTE,
    "torch.Tensor.backward(batch.rewards)": Code.MODULE_ATTRIBUTE,
    # Introspection.
    "().__class__.__bases__": Code.UNDERSCORE,
    "advantages.__globals__": Code.UNDERSCORE,
    "advantages.__code__": Code.UNDERSCORE,
    "batch._fields": Code.UNDERSCORE,
    "(i for i in ()).gi_frame": Code.ATTRIBUTE,
    "'{0.__class__}'.format(batch)": Code.ATTRIBUTE,
    "'%s'.join(batch)": Code.ATTRIBUTE,
    "f'{batch.__class__}'": Code.UNDERSCORE,
    "__import__('os')": Code.UNDERSCORE,
    "__builtins__": Code.UNDERSCORE,
    "getattr(batch, 'rewards')": Code.NAME,
    "setattr(batch, 'rewards', 1)": Code.NAME,
    "eval('1')": Code.NAME,
    "exec('1')": Code.NAME,
    "compile('1', '', 'eval')": Code.NAME,
    "open('/etc/passwd')": Code.NAME,
    "globals()": Code.NAME,
    "vars(batch)": Code.NAME,
    "type(batch)": Code.NAME,
    "print(batch)": Code.NAME,
    "object": Code.NAME,
    "breakpoint()": Code.NAME,
    "undefined_name": Code.NAME,
    # Changing what belongs to others.
    "batch.rewards[0] = 1.0": Code.FOREIGN_ASSIGNMENT,
    "batch.rewards = hyper": Code.FOREIGN_ASSIGNMENT,
    "hyper['clip'] = 1.0": Code.FOREIGN_ASSIGNMENT,
    "x = batch.rewards\nx[0] = 1.0": Code.FOREIGN_ASSIGNMENT,
    "x = batch.rewards.float()\nx[0] = 1.0": Code.FOREIGN_ASSIGNMENT,
    "x = torch.zeros(3)\nx = batch.rewards\nx[0] = 1.0": Code.FOREIGN_ASSIGNMENT,
    "x = [batch.rewards]\nx[0][0] = 1.0": Code.FOREIGN_ASSIGNMENT,
    "for batch.rewards in hyper:\n    pass": Code.FOREIGN_ASSIGNMENT,
    "torch.where = max": Code.FOREIGN_ASSIGNMENT,
    "x = batch.rewards\nx += 1.0": Code.IN_PLACE,
    "x = +batch.rewards\nx += 1.0": Code.IN_PLACE,
    "x = [batch.rewards]\nx[0] += 1.0": Code.IN_PLACE,
    "for x in [batch.rewards]:\n    x += 1.0": Code.IN_PLACE,
    "hyper['clip'] += 1.0": Code.IN_PLACE,
    "batch.rewards.add_(1.0)": Code.IN_PLACE,
    "batch.rewards.zero_()": Code.IN_PLACE,
    "batch.rewards.requires_grad_()": Code.IN_PLACE,
    "torch.add(batch.rewards, 1, out=batch.rewards)": Code.KEYWORD,
    "torch.clamp(batch.rewards, **hyper)": Code.KEYWORD,
    "torch.zeros(3, requires_grad=True)": Code.KEYWORD,
    "batch.history.append(1)": Code.ATTRIBUTE,
    "del batch": Code.STATEMENT,
    # State, control flow and definitions that the contract has no use for.
    "global state\nstate = 1": Code.STATEMENT,
    "def f():\n    nonlocal x": Code.STATEMENT,
    "while True:\n    pass": Code.STATEMENT,
    "try:\n    pass\nexcept ValueError:\n    pass": Code.STATEMENT,
    "class A:\n    pass": Code.STATEMENT,
    "import os": Code.STATEMENT,
    "with open('x') as f:\n    pass": Code.STATEMENT,
    "with torch.no_grad() as x:\n    pass": Code.STATEMENT,
    "match batch:\n    case object(rewards=x):\n        pass": Code.STATEMENT,
    "yield 1": Code.EXPRESSION,
    "(yield)": Code.EXPRESSION,
    "lambda x=batch: x": Code.EXPRESSION,
    "def f(x=[]):\n    pass": Code.EXPRESSION,
    "b'bytes'": Code.EXPRESSION,
    "1j": Code.EXPRESSION,
    "raise": Code.STATEMENT,
    # Names that would change what the policy believes.
    "torch = batch": Code.REBINDING,
    "ops, x = batch, hyper": Code.REBINDING,
    "def math():\n    pass": Code.REBINDING,
    "lambda torch: torch": Code.REBINDING,
    "[torch for torch in hyper]": Code.REBINDING,
    "for LossOutput in hyper:\n    pass": Code.REBINDING,
    "__x = 1": Code.UNDERSCORE,
    "float = lambda x: x\ny = float(batch.rewards)\ny += 1.0": Code.REBINDING,
    "def len(x):\n    return x": Code.REBINDING,
    "isinstance = max": Code.REBINDING,
    # What differs from one process, or one call, to the next.
    "torch.Tensor(3)": Code.MODULE_ATTRIBUTE,
    "make = torch.Tensor\nmake(3)": Code.MODULE_ATTRIBUTE,
    "isinstance(batch, (make := torch.Tensor))": Code.EXPRESSION,
    "{'a', 'b'}": Code.EXPRESSION,
    "{name for name in hyper}": Code.EXPRESSION,
    "set(hyper)": Code.NAME,
    "frozenset(hyper)": Code.NAME,
    "text = f'{advantages}'": Code.EXPRESSION,
    "text = f'{advantages!r:s}'": Code.EXPRESSION,
    "empty = ''\ntext = f'{advantages:{empty}}'": Code.EXPRESSION,
    "text = str(advantages)": Code.NAME,
    "text = '%s' % (advantages,)": Code.EXPRESSION,
    "text = '%s'\ntext %= advantages": Code.EXPRESSION,
    # Code in annotations.
    "def f(x: torch.zeros(3)):\n    pass": Code.EXPRESSION,
    "def f() -> max(hyper):\n    pass": Code.EXPRESSION,
    "x: (y := 3) = 1": Code.EXPRESSION,
}

REFUSED_AT_TOP = {
    "import os": Code.IMPORT,
    "import torch.utils": Code.IMPORT,
    "import numpy": Code.IMPORT,
    "from os import system": Code.IMPORT,
    "from . import x": Code.IMPORT,
    "from poise_lib import sandbox": Code.IMPORT,
    "from poise_lib.algorithms import loading": Code.MODULE_ATTRIBUTE,
    "from torch import load": Code.MODULE_ATTRIBUTE,
    "from torch import *": Code.MODULE_ATTRIBUTE,
    "from torch import os": Code.MODULE_ATTRIBUTE,
    "from typing import sys": Code.MODULE_ATTRIBUTE,
    "from poise_lib.algorithms.contract import TYPE_CHECKING": Code.MODULE_ATTRIBUTE,
    "from poise_lib.algorithms.ops import torch": Code.MODULE_ATTRIBUTE,
    "import math as torch": Code.REBINDING,
    "from math import inf as torch": Code.REBINDING,
    "torch = 1": Code.REBINDING,
    "x = torch.zeros(3)": Code.MODULE_LEVEL,
    "x = [i for i in ()]": Code.MODULE_LEVEL,
    "x = {1}": Code.MODULE_LEVEL,
    "x = LossOutput(1)": Code.MODULE_LEVEL,
    "x: int = max(1, 2)": Code.MODULE_LEVEL,
    "max(1, 2)": Code.MODULE_LEVEL,
    "if True:\n    x = 1": Code.MODULE_LEVEL,
    "for i in ():\n    pass": Code.MODULE_LEVEL,
    "class A:\n    pass": Code.MODULE_LEVEL,
    "async def f():\n    pass": Code.MODULE_LEVEL,
    "x, y = 1, 2": Code.FOREIGN_ASSIGNMENT,
    "math.pi = 3": Code.FOREIGN_ASSIGNMENT,
    "@torch.no_grad\ndef f():\n    pass": Code.STATEMENT,
    "seen = [1]\ndef f():\n    seen.append(1)": Code.ATTRIBUTE,
    "seen = [2, 1]\ndef f():\n    seen.sort()": Code.ATTRIBUTE,
    "seen = [1]\ndef f():\n    seen[0] = 1": Code.FOREIGN_ASSIGNMENT,
    "seen = ([2, 1],)\ndef f():\n    first = seen[0]\n    first.sort()": Code.MODULE_LEVEL,
    "seen = {'a': [2, 1]}": Code.MODULE_LEVEL,
    "import poise_lib.algorithms as a\ndef f():\n    return a.ops": Code.MODULE_AS_VALUE,
    "from torch import Tensor\ndef f():\n    return Tensor(3)": Code.MODULE_ATTRIBUTE,
    # A declaration must not change between where it is read and the end.
    "LOW = 1.0\nX = LOW\nLOW = 2.0": Code.REBINDING,
    "LOW = 1.0\nX: (LOW := 2.0) = LOW": Code.EXPRESSION,
    "X: max(1, 2) = 1": Code.EXPRESSION,
    "def f():\n    pass\ndef f():\n    pass": Code.REBINDING,
    "def f():\n    pass\ndef g():\n    pass\nf = g": Code.REBINDING,
    "Family.NEW": None,
    "x = Family.NO_SUCH": Code.ATTRIBUTE,
}

UNREADABLE = {
    "def f(:\n": Code.SYNTAX,
    "x = '": Code.SYNTAX,
    "\x00": Code.NOT_TEXT,
    "x = 1\x0c\x1b[2J": Code.NOT_TEXT,
    "x = '\u202e'": Code.NOT_TEXT,
    "x = 1  # a new line \u2028 for an editor only": Code.NOT_TEXT,
    "x = 1  # \x0c": Code.NOT_TEXT,
    "x = 1\ry = 2": Code.NOT_TEXT,
    "x = 1\r\ny = 2\r\n": None,
    "x = '\ud800'": Code.NOT_TEXT,
    "x = " + "(" * 300 + "1" + ")" * 300: Code.SYNTAX,
    "x = " + "-" * 1500 + "1": Code.TOO_DEEP,
    "x = (\n" + "1 +\n" * 3000 + "1)": Code.TOO_DEEP,
    "x = a" + "\\\n.b" * 3000: Code.TOO_DEEP,
    "x = " + "-" * (MAX_DEPTH + 1) + "1": Code.TOO_DEEP,
    "x = " + "9" * 1990: None,
    "x = '" + "a" * 2000 + "'": Code.TOO_LARGE,
    "# " + "\n#" * MAX_CHARACTERS: Code.TOO_LARGE,
    "x = " + "9" * 5000: Code.TOO_LARGE,
}

ACCEPTED_IN_FUNCTIONS = [
    "x = torch.zeros_like(batch.rewards)\nx[batch.correct] = 1.0\nx[0] -= 0.5\nreturn x",
    "total = 0.0\nfor step in range(3):\n    total += step\nreturn total",
    "x = batch.rewards * 2\nx += 1\nx -= batch.rewards\nreturn x",
    "rows = []\nfor g in torch.unique(batch.group):\n    rows.append(batch.rewards[batch.group == g])\nreturn rows",
    "out = {}\nout['a'] = batch.rewards\nreturn out",
    "with torch.no_grad():\n    x = batch.rewards.mean()\nreturn x",
    "values, indices = batch.rewards.sort(descending=True)\nreturn values",
    "best = batch.rewards.max(dim=0).values\nreturn best",
    "a, *rest = [1, 2, 3]\nreturn rest",
    "f = lambda x, y=1: x + y\nreturn f(1)",
    "def helper(x):\n    return x * 2\nreturn helper(batch.rewards)",
    "return sorted([3, 1], key=lambda x: -x)[0]",
    "if hyper.get('a', 0.0) > 0.5 and not batch.ref_logprobs is None:\n    raise ValueError('no')\nreturn None",
    "assert batch.rewards.ndim == 1\nreturn F.softplus(batch.rewards)",
    "return {name: value for name, value in hyper.items() if value > 0}",
    "return torch.finfo(torch.float32).eps * torch.where(batch.valid, 1.0, 0.0)",
    "x: torch.Tensor = batch.rewards\nreturn x.to(torch.float32).detach().clone()",
    "return f'group_{batch.step:03d}'",
    "if (n := batch.rewards.shape[0]) > 1:\n    return n\nreturn math.log1p(math.pi)",
    "return torch.nn.functional.softmax(batch.rewards, dim=-1)",
    "def helper(x: torch.Tensor | None) -> tuple[int, float]:\n    return 1, 2.0\nreturn helper(batch.rewards)",
    "if batch.step % 2:\n    raise ValueError(f'{batch.rewards} at {batch.step!r}')\nassert hyper, f'{hyper}'",
    "def helper(x: dict[str, float]) -> str:\n    return f'{x[\"a\"]:g}'\nreturn isinstance(hyper, str)",
    "return [hyper[f'clip_{side:s}'] for side in ('low', 'high')]",
    "if isinstance(batch.rewards, (torch.Tensor, float)):\n    return batch.rewards\nreturn None",
    "return (batch.rewards[:, None] == batch.rewards[None, :]).float() @ batch.rewards",
]


@pytest.mark.parametrize(("body", "code"), REFUSED_IN_FUNCTIONS.items())
def test_refused_in_a_function(body, code):
    result = check_source(in_function(body))
    assert result.tree is None
    assert code in {violation.code for violation in result.violations}, result.violations
    first = PREAMBLE.count("\n") + 3
    assert all(violation.line >= first and violation.column > 0 for violation in result.violations)
    assert all(violation.message and violation.hint for violation in result.violations)


@pytest.mark.parametrize(("line", "code"), REFUSED_AT_TOP.items())
def test_refused_at_the_top(line, code):
    result = check_source(PREAMBLE + line + "\n")
    assert result.tree is None
    if code is not None:
        assert code in {violation.code for violation in result.violations}, result.violations


@pytest.mark.parametrize(("source", "code"), UNREADABLE.items(), ids=range(len(UNREADABLE)))
def test_unreadable(source, code):
    result = check_source(source)
    assert [violation.code for violation in result.violations] == ([] if code is None else [code])


@pytest.mark.parametrize("body", ACCEPTED_IN_FUNCTIONS)
def test_ordinary_code_is_accepted(body):
    result = check_source(in_function(body))
    assert result.violations == ()
    assert isinstance(result.tree, ast.Module)


def test_the_well_formed_candidate_is_accepted(candidate):
    assert check_source(candidate).violations == ()


def test_all_violations_are_listed_in_order():
    source = in_function("open('x')\nbatch.x = 1\neval('1')")
    lines = [violation.line for violation in check_source(source).violations]
    assert lines == sorted(lines)
    assert len(lines) == 3


def test_the_list_of_violations_is_bounded():
    assert len(check_source(in_function("open('x')\n" * 500)).violations) == 50


@given(st.text(max_size=300))
def test_any_text_gives_an_answer(text):
    result = check_source(text)
    assert (result.tree is None) == bool(result.violations)


def test_lists_name_only_what_exists():
    import torch

    from poise_lib.algorithms import allowed

    results = {"values", "indices"}
    assert {name for name in allowed.TORCH if not hasattr(torch, name)} == set()
    assert {name for name in allowed.TENSOR_MEMBERS - results if not hasattr(torch.Tensor, name)} == set()
    assert {name for name in allowed.FUNCTIONAL if not hasattr(torch.nn.functional, name)} == set()
    assert {name for name in allowed.MATH if not hasattr(math_module(), name)} == set()
    assert not any(name.endswith("_") or name.startswith("_") for name in allowed.TORCH | allowed.value_members())


def math_module():
    import math

    return math
