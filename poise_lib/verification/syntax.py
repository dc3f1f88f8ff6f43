"""Walk a candidate's syntax tree and note everything that is not expressly allowed.

Every kind of statement and expression that is not named here is refused, so that new syntax is refused too.  What a
name stands for is known because imports cannot be rebound: ``torch.x`` is always looked up in PyTorch's list, and any
other attribute in the list of what tensors, mappings and the contract's dataclasses have.
"""

from __future__ import annotations

import ast
from typing import Final

from poise_lib.algorithms import allowed
from poise_lib.verification.imports import Imports
from poise_lib.verification.scopes import Scope, scope_of
from poise_lib.verification.violations import Code, Violation

_CONTRACT: Final = "poise_lib.algorithms.contract"
_DECLARATIONS: Final = ("Hyperparameter", "Mechanism")

_PLAIN_STATEMENTS: Final = (ast.Return, ast.If, ast.Expr, ast.Pass, ast.Break, ast.Continue)
_PLAIN_EXPRESSIONS: Final = (
    ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.IfExp, ast.Dict, ast.List, ast.Tuple, ast.ListComp, ast.DictComp,
    ast.GeneratorExp, ast.Compare, ast.JoinedStr, ast.FormattedValue, ast.Subscript, ast.Starred,
    ast.Slice, ast.comprehension, ast.keyword, ast.NamedExpr,
)  # fmt: skip
_OPERATORS: Final = (ast.operator, ast.unaryop, ast.boolop, ast.cmpop, ast.expr_context)
_CONSTANTS: Final = (int, float, str, bool, type(None), type(...))
_CONSTANT_EXPRESSIONS: Final = (
    ast.Constant, ast.Tuple, ast.Dict, ast.UnaryOp, ast.BinOp, ast.Name, ast.Attribute, ast.keyword, *_OPERATORS,
)  # fmt: skip
_TYPE_EXPRESSIONS: Final = (
    ast.Constant, ast.Name, ast.Attribute, ast.Subscript, ast.Tuple, ast.List, ast.BinOp, ast.BitOr, ast.expr_context,
)  # fmt: skip
_TENSOR: Final = ("torch.Tensor", "torch:Tensor")
_MEANT: Final = frozenset({"bool", "float", "int", "isinstance", "len", "round"})
"""Builtins that the policy takes at their word: ``float(x)`` makes a number, which may be changed in place."""


class Walker:
    """Collects violations; one instance for one tree."""

    def __init__(self) -> None:
        self.violations: list[Violation] = []
        self._imports = Imports()
        self._globals: set[str] = set()
        self._scopes: list[Scope] = []
        self._in_message = False
        """Within the text of an error, which no result can depend on."""

    def walk(self, tree: ast.Module) -> list[Violation]:
        """All violations in ``tree``, in order of position."""
        for statement in tree.body:
            if isinstance(statement, ast.FunctionDef):
                self._define(statement, statement.name)
        for statement in tree.body:
            self._top(statement)
        return sorted(self.violations)

    def _refuse(self, node: ast.AST, code: Code, message: str, hint: str) -> None:
        self.violations.append(Violation.at(node, code, message, hint))

    # The module's top level ------------------------------------------------------------------------------------------

    def _top(self, node: ast.stmt) -> None:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            self.violations += self._imports.add(node, self._globals)
            self._globals |= self._imports.objects.keys()
        elif isinstance(node, ast.FunctionDef):
            self._function(node)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            self._top_assignment(node)
        elif not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            kind = type(node).__name__
            self._refuse(
                node,
                Code.MODULE_LEVEL,
                f"{kind} at the top of the module",
                allowed.INSTEAD.get(type(node), "only imports, constants and functions stand at the top"),
            )

    def _top_assignment(self, node: ast.Assign | ast.AnnAssign) -> None:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if isinstance(node, ast.AnnAssign):
            self._type(node.annotation)
        for target in targets:
            if not isinstance(target, ast.Name):
                self._refuse(
                    target, Code.FOREIGN_ASSIGNMENT, "only plain names are assigned at the top", "write NAME = value"
                )
                continue
            self._check_binding(target, target.id)
            self._define(target, target.id)
        if node.value is not None:
            self._constant(node.value)

    def _define(self, node: ast.AST, name: str) -> None:
        """A name of the module; it has one meaning, which is what the declarations are read by."""
        if name in self._globals and name not in self._imports.objects:
            self._refuse(node, Code.REBINDING, f"{name!r} is defined twice", "give each its own name")
        self._globals.add(name)

    def _constant(self, node: ast.AST) -> None:
        """A constant expression: literals, arithmetic, earlier constants, the contract's declarations."""
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else ""
            if self._imports.objects.get(name) in {f"{_CONTRACT}:{allowed_name}" for allowed_name in _DECLARATIONS}:
                for part in (*node.args, *node.keywords):
                    self._constant(part)
                return
        if not isinstance(node, (*_CONSTANT_EXPRESSIONS,)):
            self._refuse(
                node,
                Code.MODULE_LEVEL,
                f"{type(node).__name__} at the top of the module",
                allowed.INSTEAD.get(
                    type(node), "only literals, arithmetic on them, Hyperparameter(...) and Mechanism(...) stand there"
                ),
            )
            return
        if isinstance(node, (ast.Name, ast.Attribute, ast.Constant)):
            self._expression(node)
            return
        for child in ast.iter_child_nodes(node):
            self._constant(child)

    # Functions -------------------------------------------------------------------------------------------------------

    def _function(self, node: ast.FunctionDef) -> None:
        self._check_binding(node, node.name)
        for decorator in node.decorator_list:
            self._refuse(decorator, Code.STATEMENT, "a decorator", "call the function by name where it is needed")
        if getattr(node, "type_params", None):
            self._refuse(node, Code.STATEMENT, "type parameters", "use plain annotations")
        if node.returns is not None:
            self._type(node.returns)
        self._arguments(node.args)
        self._scopes.append(scope_of(node))
        for statement in node.body:
            self._statement(statement)
        self._scopes.pop()

    def _arguments(self, arguments: ast.arguments) -> None:
        for default in (*arguments.defaults, *arguments.kw_defaults):
            if default is not None and not _is_number_or_text(default):
                self._refuse(default, Code.EXPRESSION, "a default that is no literal", "use a number, a string or None")
        for argument in ast.walk(arguments):
            if isinstance(argument, ast.arg):
                self._check_binding(argument, argument.arg)
                if argument.annotation is not None:
                    self._type(argument.annotation)

    def _statement(self, node: ast.stmt) -> None:
        if isinstance(node, ast.FunctionDef):
            self._function(node)
        elif isinstance(node, ast.Assign):
            self._expression(node.value)
            for target in node.targets:
                self._target(target)
        elif isinstance(node, ast.AnnAssign):
            self._type(node.annotation)
            if node.value is not None:
                self._expression(node.value)
            self._target(node.target)
        elif isinstance(node, ast.AugAssign):
            self._expression(node.value)
            if isinstance(node.op, ast.Mod):
                self._remainder(node, node.value)
            self._augmented(node)
        elif isinstance(node, ast.For):
            self._target(node.target)
            self._expression(node.iter)
            for statement in (*node.body, *node.orelse):
                self._statement(statement)
        elif isinstance(node, ast.With):
            self._with(node)
        elif isinstance(node, ast.Raise):
            self._raise(node)
        elif isinstance(node, ast.Assert):
            self._expression(node.test)
            if node.msg is not None:
                self._message(node.msg)
        elif isinstance(node, _PLAIN_STATEMENTS):
            for child in ast.iter_child_nodes(node):
                if isinstance(child, ast.stmt):
                    self._statement(child)
                else:
                    self._expression(child)
        else:
            hint = allowed.INSTEAD.get(type(node), "use plain assignments, if, for and return")
            self._refuse(node, Code.STATEMENT, f"{type(node).__name__} in a function", hint)

    def _with(self, node: ast.With) -> None:
        for item in node.items:
            call = item.context_expr
            path = self._imports.path(call.func) if isinstance(call, ast.Call) and not call.args else None
            if path != "torch.no_grad" or item.optional_vars is not None:
                self._refuse(node, Code.STATEMENT, "a with block", "only `with torch.no_grad():` is allowed")
        for statement in node.body:
            self._statement(statement)

    def _raise(self, node: ast.Raise) -> None:
        if node.exc is None or node.cause is not None:
            self._refuse(
                node, Code.STATEMENT, "raise without an exception, or from a cause", "raise ValueError(message)"
            )
        else:
            self._message(node.exc)

    def _message(self, node: ast.expr) -> None:
        """What an error says."""
        outer, self._in_message = self._in_message, True
        self._expression(node)
        self._in_message = outer

    def _target(self, node: ast.expr) -> None:
        """Something that is assigned to."""
        if isinstance(node, ast.Name):
            self._check_binding(node, node.id)
        elif isinstance(node, (ast.Tuple, ast.List)):
            for part in node.elts:
                self._target(part)
        elif isinstance(node, ast.Starred):
            self._target(node.value)
        elif isinstance(node, ast.Subscript):
            self._expression(node.slice)
            if not self._own(node.value, containers=True):
                self._refuse_assignment(node)
        else:
            self._refuse_assignment(node)

    def _augmented(self, node: ast.AugAssign) -> None:
        """``x += y`` changes a tensor in place, and with it whatever shares its memory."""
        target = node.target
        if isinstance(target, ast.Name) and self._own(target, containers=True):
            return
        if isinstance(target, ast.Subscript) and self._own(target.value, containers=False):
            self._expression(target.slice)
            return
        self._refuse(
            node,
            Code.IN_PLACE,
            "augmented assignment to something that this function did not plainly make",
            "write x = x + y, which makes a new tensor",
        )

    def _refuse_assignment(self, node: ast.expr) -> None:
        self._refuse(
            node,
            Code.FOREIGN_ASSIGNMENT,
            f"assignment into {ast.unparse(node)[:60]}",
            "assign to plain names, or into a list, dict or tensor that this function made; torch.where selects",
        )

    def _own(self, node: ast.expr, *, containers: bool) -> bool:
        if not isinstance(node, ast.Name) or not self._scopes:
            return False
        scope = self._scopes[-1]
        return node.id in scope.values or (containers and node.id in scope.containers)

    def _type(self, node: ast.AST) -> None:
        """An annotation, or what ``isinstance`` compares with: names of types, and nothing that could have an effect."""
        if not isinstance(node, _TYPE_EXPRESSIONS):
            message = f"{type(node).__name__} in a type"
            self._refuse(node, Code.EXPRESSION, message, "write the names of types, such as torch.Tensor or int | None")
        elif self._means_tensor(node) or (isinstance(node, ast.Name) and node.id == "str"):
            return
        elif isinstance(node, (ast.Name, ast.Attribute)):
            self._expression(node)
        else:
            for child in ast.iter_child_nodes(node):
                self._type(child)

    def _means_tensor(self, node: ast.AST) -> bool:
        if isinstance(node, ast.Name):
            return self._imports.objects.get(node.id) in _TENSOR
        return isinstance(node, ast.Attribute) and self._imports.path(node) in _TENSOR

    # Expressions -----------------------------------------------------------------------------------------------------

    def _expression(self, node: ast.AST) -> None:
        if self._means_tensor(node):
            self._refuse(
                node,
                Code.MODULE_ATTRIBUTE,
                "torch.Tensor used as a value",
                "it is a type: Tensor(3) holds whatever the memory held; call methods on tensors, make them by zeros",
            )
        elif isinstance(node, ast.Name):
            self._name(node)
        elif isinstance(node, ast.Attribute):
            self._attribute(node)
        elif isinstance(node, ast.Call):
            self._call(node)
        elif isinstance(node, ast.Constant):
            if not isinstance(node.value, _CONSTANTS):
                self._refuse(node, Code.EXPRESSION, f"a {type(node.value).__name__} literal", "use numbers and strings")
        elif isinstance(node, ast.Lambda):
            self._arguments(node.args)
            self._scopes.append(scope_of(node))
            self._expression(node.body)
            self._scopes.pop()
        elif isinstance(node, (*_PLAIN_EXPRESSIONS, *_OPERATORS)):
            self._text_of_a_value(node)
            if isinstance(node, (ast.comprehension, ast.NamedExpr)):
                self._target(node.target)
            for child in ast.iter_child_nodes(node):
                self._expression(child)
        else:
            self._refuse(
                node,
                Code.EXPRESSION,
                f"{type(node).__name__} is not allowed",
                allowed.INSTEAD_OF.get(type(node), "use plain expressions on tensors and numbers"),
            )

    def _text_of_a_value(self, node: ast.AST) -> None:
        """The text of a function holds its address, which is another in every process: a source of random numbers.

        Functions, and all else that is no text or number, refuse a format that is not empty.
        """
        if self._in_message:
            return
        if isinstance(node, ast.FormattedValue):
            spec = node.format_spec.values if isinstance(node.format_spec, ast.JoinedStr) else []
            if node.conversion != -1 or not any(isinstance(part, ast.Constant) and part.value for part in spec):
                hint = "say the format, {name:s} or {number:g}; errors may say anything"
                self._refuse(node, Code.EXPRESSION, "the text of a value of any type", hint)
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod):
            self._remainder(node, node.right)

    def _remainder(self, node: ast.AST, right: ast.expr) -> None:
        """``%`` formats where its left side is a string, and then its result may be the text of anything but a number."""
        if not (isinstance(right, ast.Constant) and isinstance(right.value, (int, float))):
            hint = "use torch.remainder, math.fmod or divmod(a, b)[1]; for text an f-string"
            self._refuse(node, Code.EXPRESSION, "% by something that is no number literal", hint)

    def _name(self, node: ast.Name) -> None:
        name = node.id
        if name in self._imports.modules:
            self._refuse(
                node,
                Code.MODULE_AS_VALUE,
                f"module {name!r} used as a value",
                f"write {name}.function where it is needed",
            )
        elif name.startswith("__"):
            self._refuse(node, Code.UNDERSCORE, f"name {name!r}", "names with two leading underscores are not allowed")
        elif name in self._globals or name in allowed.BUILTINS or any(name in scope.names for scope in self._scopes):
            return
        else:
            self._refuse(
                node,
                Code.NAME,
                f"{name!r} is not defined here, or not allowed",
                f"define it, or use one of the allowed builtins: {', '.join(sorted(allowed.BUILTINS))}",
            )

    def _attribute(self, node: ast.Attribute) -> None:
        base = self._imports.path(node.value)
        if node.attr.startswith("_"):
            self._refuse(
                node,
                Code.UNDERSCORE,
                f"attribute {node.attr!r}",
                "attributes with a leading underscore are not allowed",
            )
        elif base is not None:
            if node.attr not in allowed.modules().get(base, ()):
                self._refuse(
                    node,
                    Code.MODULE_ATTRIBUTE,
                    f"{base}.{node.attr} is not allowed",
                    "only pure functions of tensors are; see the allow-list of the verification package",
                )
            elif f"{base}.{node.attr}" in allowed.modules():
                message = f"module {base}.{node.attr} used as a value"
                self._refuse(node, Code.MODULE_AS_VALUE, message, "write module.function where it is needed")
            return
        elif isinstance(node.value, ast.Name) and self._imports.objects.get(node.value.id) == f"{_CONTRACT}:Family":
            if node.attr not in allowed.family_members():
                known = ", ".join(sorted(allowed.family_members()))
                self._refuse(node, Code.ATTRIBUTE, f"Family has no member {node.attr!r}", f"it has {known}")
        elif node.attr not in allowed.value_members() or self._changes_a_constant(node):
            if node.attr.endswith("_"):
                instead = f"use .{node.attr.rstrip('_')} and keep its result"
                self._refuse(node, Code.IN_PLACE, f".{node.attr} changes a tensor in place", instead)
            else:
                known = "only tensor methods without side effects, fields of the contract and mapping methods are"
                self._refuse(node, Code.ATTRIBUTE, f"attribute .{node.attr} is not allowed", known)
        self._expression(node.value)

    def _changes_a_constant(self, node: ast.Attribute) -> bool:
        """``CONSTANT.sort()``: a list of the module, of which a method that tensors have too changes the list."""
        name = node.value.id if isinstance(node.value, ast.Name) else ""
        local = any(name in scope.names for scope in self._scopes)
        return node.attr in allowed.LIST_METHODS and name in self._globals and not local

    def _call(self, node: ast.Call) -> None:
        function = node.func
        own_list = (
            isinstance(function, ast.Attribute)
            and function.attr in allowed.LIST_METHODS
            and isinstance(function.value, ast.Name)
            and bool(self._scopes)
            and function.value.id in self._scopes[-1].containers
        )
        if not own_list:
            self._expression(function)
        types = self._type_arguments(function)
        for position, argument in enumerate(node.args):
            if position == types:
                self._type(argument)
            else:
                self._expression(argument)
        for keyword in node.keywords:
            if keyword.arg is None:
                self._refuse(keyword.value, Code.KEYWORD, "** in a call", "write the keywords out")
            elif keyword.arg in allowed.KEYWORDS_REFUSED:
                reason = allowed.KEYWORDS_REFUSED[keyword.arg]
                self._refuse(keyword.value, Code.KEYWORD, f"keyword {keyword.arg!r}", f"not allowed: {reason}")
            self._expression(keyword.value)

    def _type_arguments(self, function: ast.expr) -> int | None:
        """Which argument of a call is a type: the second of ``isinstance``, the first of ``typing.cast``."""
        name = function.id if isinstance(function, ast.Name) else ""
        if name == "isinstance":
            return 1
        return 0 if self._imports.objects.get(name) == "typing:cast" else None

    def _check_binding(self, node: ast.AST, name: str) -> None:
        if name.startswith("__"):
            self._refuse(node, Code.UNDERSCORE, f"name {name!r}", "names with two leading underscores are not allowed")
        if name in self._imports.modules or name in self._imports.objects:
            self._refuse(node, Code.REBINDING, f"{name!r} is an import and is bound again", "choose another name")
        if name in _MEANT:
            self._refuse(node, Code.REBINDING, f"builtin {name!r} gets a second meaning", "choose another name")


def _is_number_or_text(node: ast.expr) -> bool:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        node = node.operand
    return isinstance(node, ast.Constant) and isinstance(node.value, _CONSTANTS)
