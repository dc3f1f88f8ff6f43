"""What candidate source may name, and how much of it there may be.  Lists of what is allowed, not of what is dangerous:
``torch.os`` is an attribute too.

The static policy (:mod:`poise_lib.verification.policy`) enforces these tables, and prompts state them
(:mod:`poise_lib.prompts.contract_text`); they stand beside the contract so that both read the same.

Everything named here is a pure function of tensors and numbers: no files, no processes, no random numbers, no global
settings, no change in place.  To allow something more, check that it is such a function, and add it.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

TORCH: Final = frozenset(
    """
    Tensor abs add all allclose amax amin aminmax any arange argmax argmin argsort atan bfloat16 bincount bool
    broadcast_to bucketize cat ceil chunk clamp clamp_max clamp_min concat copysign cos cosh cummax cummin cumprod
    cumsum diff div double eq erf exp exp2 expm1 eye finfo flatten flip float float16 float32 float64 floor fmax fmin
    full full_like gather ge gt half heaviside hypot iinfo index_add index_select inf int int16 int32 int64 int8
    inverse isclose isfinite isin isinf isnan kthvalue le lerp linspace log log10 log1p log2 log_softmax logaddexp
    logcumsumexp logical_and logical_not logical_or logical_xor logit logspace logsumexp long lt masked_fill
    masked_select matmul max maximum mean median min minimum mul multiply nan nan_to_num nanmean nanmedian nanquantile
    nansum narrow ne neg negative no_grad nonzero numel ones ones_like outer permute pi positive pow prod
    quantile ravel reciprocal relu remainder repeat_interleave reshape roll round rsqrt scalar_tensor scatter
    scatter_add scatter_reduce searchsorted select sgn sigmoid sign sin sinh softmax sort split sqrt square squeeze
    stack std std_mean sub subtract sum take take_along_dim tan tanh tensor tile topk transpose tril triu true_divide
    trunc unbind unflatten unique unique_consecutive unsqueeze var var_mean vstack hstack where xlogy zeros zeros_like
    """.split()  # noqa: SIM905 - a block of words reads better than a hundred quoted lines
)

FUNCTIONAL: Final = frozenset(
    """
    binary_cross_entropy cosine_similarity gelu huber_loss kl_div l1_loss log_softmax logsigmoid mse_loss one_hot pad
    sigmoid smooth_l1_loss softmax softplus softsign tanh
    """.split()  # noqa: SIM905
)
"""``torch.nn.functional``, without functions that take ``inplace`` or ``out`` by position."""

MATH: Final = frozenset(
    """
    acos asin atan atan2 ceil copysign cos cosh degrees e erf erfc exp expm1 fabs floor fmod hypot inf isclose isfinite
    isinf isnan ldexp log log10 log1p log2 modf nan pi pow radians sin sinh sqrt tan tanh tau trunc
    """.split()  # noqa: SIM905
)

_OF_THE_MODULE_ONLY: Final = frozenset(
    """
    Tensor arange bucketize cat concat eye finfo float16 float32 float64 full full_like hstack iinfo inf int16 int32
    int64 int8 isin linspace logspace nan no_grad ones ones_like pi scalar_tensor searchsorted stack std_mean tensor
    var_mean vstack zeros zeros_like
    """.split()  # noqa: SIM905
)
TENSOR_MEMBERS: Final = (TORCH - _OF_THE_MODULE_ONLY) | {
    "T", "clone", "contiguous", "cpu", "detach", "device", "dim", "dtype", "element_size", "expand", "expand_as",
    "index_copy", "index_fill", "index_put", "is_floating_point", "item", "mT", "masked_scatter",
    "ndim", "new_full", "new_ones", "new_tensor", "new_zeros", "repeat", "requires_grad", "reshape_as", "shape",
    "size", "sum_to_size", "t", "norm", "to", "tolist", "type_as", "unfold", "view", "view_as", "values", "indices",
}  # fmt: skip
"""Methods and attributes of tensors (``values`` and ``indices`` are those of ``max(dim)`` and ``sort``)."""

VALUE_MEMBERS: Final = frozenset({"get", "items", "keys", "values", "eps", "tiny", "default", "low", "high", "off"})
"""Of mappings, of ``torch.finfo``, of the contract's declarations."""

LIST_METHODS: Final = frozenset({"append", "extend", "insert", "pop", "reverse", "sort"})
"""Change a list in place: allowed on a list that the same function made."""

TYPING: Final = frozenset({"Any", "Callable", "Final", "Mapping", "Optional", "Sequence", "Union", "cast"})
COLLECTIONS_ABC: Final = frozenset({"Callable", "Iterable", "Iterator", "Mapping", "Sequence"})

BUILTINS: Final = frozenset(
    """
    abs all any bool dict divmod enumerate filter float int isinstance len list map max min pow range reversed round
    slice sorted sum tuple zip True False None ValueError ZeroDivisionError
    """.split()  # noqa: SIM905
)
"""No sets, whose order differs from one process to the next, and no ``str``, since the text of a function holds its
address: a run could not be repeated."""

KEYWORDS_REFUSED: Final = {
    "out": "it writes into its argument",
    "inplace": "it writes into its argument",
    "generator": "candidates draw no random numbers",
    "pin_memory": "candidates do not manage memory",
    "requires_grad": "gradients come in with logprobs and entropy only",
}

INSTEAD: Final[Mapping[type[ast.AST], str]] = {
    ast.While: "use a for loop over a range",
    ast.Try: "let errors surface; test for the case instead",
    ast.ClassDef: "use functions and plain dicts or tuples",
    ast.Global: "a candidate keeps no state; pass values as arguments",
    ast.Nonlocal: "a candidate keeps no state; pass values as arguments",
    ast.Delete: "let names go out of scope",
    ast.Match: "use if and elif",
    ast.AsyncFunctionDef: "use plain functions",
    ast.List: "write a tuple: a list that all calls share could be changed, by sort() for one",
}
"""Statements that are refused, and what to write in their place; what is not allowed by the walk is refused as well."""
_SET: Final = "use a tuple or the keys of a dict: the order of a set differs from one process to the next"
INSTEAD_OF: Final[Mapping[type[ast.AST], str]] = {ast.Set: _SET, ast.SetComp: _SET}
"""The same for expressions."""

MAX_CHARACTERS: Final = 24_000
"""Of a module: as many as a Candidate resource holds."""
MAX_DEPTH: Final = 60
"""Nesting of the syntax tree."""
MAX_LINE: Final = 2_000
"""Characters of a line."""
MAX_HYPERPARAMETERS: Final = 32
MAX_MECHANISMS: Final = 16
"""At least one is declared."""
MAX_TEXT: Final = 400
"""Characters of a string in a declaration."""

_OPS: Final = "poise_lib.algorithms.ops"
_CONTRACT: Final = "poise_lib.algorithms.contract"


@cache
def modules() -> Mapping[str, frozenset[str]]:
    """Module -> the names that may be taken from it.

    The names of the contract and of its operations are read from their source, without importing it (and so torch).
    """
    return {
        "__future__": frozenset({"annotations"}),
        "torch": TORCH,
        "torch.nn.functional": FUNCTIONAL,
        "math": MATH,
        "typing": TYPING,
        "collections.abc": COLLECTIONS_ABC,
        "poise_lib.algorithms": frozenset({"ops"}),
        _OPS: _public(_OPS, ast.FunctionDef),
        _CONTRACT: _public(_CONTRACT, ast.ClassDef, ast.Assign, ast.AnnAssign) - {"TYPE_CHECKING"},
    }


SUBMODULES: Final = {("poise_lib.algorithms", "ops"): _OPS, ("torch.nn", "functional"): "torch.nn.functional"}
"""``from package import module``: what the bound name stands for."""


@cache
def value_members() -> frozenset[str]:
    """Attributes that may be read from a value that is no module: tensors, mappings, the contract's dataclasses."""
    fields = {
        statement.target.id
        for node in _tree(_CONTRACT).body
        if isinstance(node, ast.ClassDef)
        for statement in node.body
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
    }
    return TENSOR_MEMBERS | VALUE_MEMBERS | fields


@cache
def family_members() -> frozenset[str]:
    """Members of the contract's ``Family``."""
    for node in _tree(_CONTRACT).body:
        if isinstance(node, ast.ClassDef) and node.name == "Family":
            targets = [item.targets[0] for item in node.body if isinstance(item, ast.Assign)]
            return frozenset(target.id for target in targets if isinstance(target, ast.Name))
    raise AssertionError("the contract has no Family")


@cache
def _tree(module: str) -> ast.Module:
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))


def _public(module: str, *kinds: type[ast.stmt]) -> frozenset[str]:
    """Names that a module defines at its top by statements of ``kinds``; those with a leading underscore left out."""
    names: set[str] = set()
    for node in _tree(module).body:
        if not isinstance(node, kinds):
            continue
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return frozenset(name for name in names if not name.startswith("_"))
