"""Arithmetic written as text, read without ever being run as text.

An expression holds numbers, names, ``+ - * / **`` and brackets, the comparisons ``== != < <= > >=`` (1 where
true, else 0), and exp, log, sqrt, min and max. It is parsed, every node is checked against that list, and
what kernels are compiled from is printed anew from the checked tree, with names replaced by local variables.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property

FUNCTIONS = {"exp": (1, 1), "log": (1, 1), "sqrt": (1, 1), "min": (2, 99), "max": (2, 99)}
"""Function -> least and largest number of arguments."""

_OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "**",
}  # fmt: skip
_COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
}  # fmt: skip
_ALLOWED = "use numbers, names, + - * / ** ( ), comparisons, exp, log, sqrt, min and max"
_LONGEST = 10_000  # characters; what is longer is no equation


@dataclass(frozen=True)
class Expression:
    """A checked expression.

    Attributes
    ----------
    place
        Where it stands, for messages: "model m, parameter CL".
    text
        As written.
    tree
        Its syntax tree, which holds nothing but what this module allows.
    """

    place: str
    text: str
    tree: ast.expr

    @cached_property
    def names(self) -> frozenset[str]:
        """Names it uses, functions left out."""
        return _names(self.tree)

    def code(self, written: Mapping[str, str]) -> str:
        """Return it as Python source in Numba's subset, each name as `written` says, all numbers as
        floats."""
        return _code(self.tree, written)

    def terms(self, variables: Collection[str], written: Mapping[str, str]) -> dict[str, str] | None:
        """Return it as a sum of terms linear in `variables`: variable -> source of its coefficient.

        What stands without a variable is under the name "". None where it is not such a sum, as far as its
        form shows: products, quotients and sums are multiplied out, nothing is cancelled.
        """
        return _terms(self.tree, frozenset(variables), written)

    def same(self, other: Expression) -> bool:
        """Whether the two are the same but for blanks and brackets."""
        return ast.dump(self.tree) == ast.dump(other.tree)


def read_expression(
    place: str, text: object, known: Collection[str], elsewhere: Mapping[str, str] | None = None
) -> Expression:
    """Read an expression in which only names of `known` occur.

    Parameters
    ----------
    place
        Where it stands, for messages.
    text
        The expression, or a number.
    known
        Names that may occur.
    elsewhere
        Names that are known but may not occur here -> why not, and the remedy.

    Raises
    ------
    ValueError
        For text that is no expression, or holds what is not allowed, or a name that is not known.
    """
    where = f"{place} = {text!r}"
    if isinstance(text, int | float) and not isinstance(text, bool):
        text = repr(text)
    if not isinstance(text, str) or len(text) > _LONGEST:
        raise ValueError(f"{where}: expected an expression in quotes, of at most {_LONGEST:,} characters")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        _check(tree, where, known, elsewhere or {})
    except SyntaxError as error:
        raise ValueError(f"{where}: no expression ({error.msg}); {_ALLOWED}") from None
    except (RecursionError, MemoryError):
        raise ValueError(f"{where}: nested too deeply; split it into several parameters") from None
    return Expression(place, text, tree)


def instead(name: str, known: Collection[str]) -> str:
    """Say what could have been meant by a name that is not known."""
    folded = {item.lower(): item for item in known}
    near = [folded[item] for item in get_close_matches(name.lower(), folded, n=3, cutoff=0.6)]
    meant = f"did you mean {' or '.join(repr(item) for item in near)}? " if near else ""
    return f"{meant}known: {', '.join(known) or 'none'}"


def _check(node: ast.AST, where: str, known: Collection[str], elsewhere: Mapping[str, str]) -> None:
    match node:
        case ast.Constant(value=value):
            if not _finite(value):
                raise ValueError(f"{where}: {value!r} is no finite number; {_ALLOWED}")
        case ast.Name(id=name):
            if name in elsewhere:
                raise ValueError(f"{where}: {name!r} {elsewhere[name]}")
            if name not in known:
                raise ValueError(f"{where}: unknown name {name!r}; {instead(name, known)}")
        case ast.BinOp(op=ast.BitXor()):
            raise ValueError(f"{where}: ^ is no power here; write **")
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _OPERATORS:
            _check(left, where, known, elsewhere)
            _check(right, where, known, elsewhere)
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
            _check(operand, where, known, elsewhere)
        case ast.Compare(left=left, ops=[operator], comparators=[right]) if type(operator) in _COMPARISONS:
            _check(left, where, known, elsewhere)
            _check(right, where, known, elsewhere)
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
            _check_call(name, arguments, where, known, elsewhere)
        case _:
            raise ValueError(f"{where}: {ast.unparse(node)!r} is not allowed; {_ALLOWED}")


def _check_call(
    name: str,
    arguments: list[ast.expr],
    where: str,
    known: Collection[str],
    elsewhere: Mapping[str, str],
) -> None:
    if name not in FUNCTIONS:
        raise ValueError(f"{where}: unknown function {name!r}; {instead(name, FUNCTIONS)}")
    least, most = FUNCTIONS[name]
    if not least <= len(arguments) <= most:
        expected = "1" if most == 1 else "2 or more"
        raise ValueError(f"{where}: {name} of {len(arguments)} values; expected {expected}")
    for argument in arguments:
        _check(argument, where, known, elsewhere)


def _finite(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False


def _names(tree: ast.AST) -> frozenset[str]:
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    return frozenset(
        node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and id(node) not in called
    )


def _code(node: ast.AST, written: Mapping[str, str]) -> str:
    match node:
        case ast.Constant(value=int() | float() as value):
            return repr(float(value))
        case ast.Name(id=name):
            return written[name]
        case ast.BinOp(left=left, op=operator, right=right):
            return f"({_code(left, written)} {_OPERATORS[type(operator)]} {_code(right, written)})"
        case ast.UnaryOp(op=operator, operand=operand):
            return f"({'-' if isinstance(operator, ast.USub) else ''}{_code(operand, written)})"
        case ast.Compare(left=left, ops=[operator], comparators=[right]):
            sides = f"{_code(left, written)} {_COMPARISONS[type(operator)]} {_code(right, written)}"
            return f"(1.0 if {sides} else 0.0)"
        case ast.Call(func=ast.Name(id=name), args=arguments):
            inner = ", ".join(_code(argument, written) for argument in arguments)
            return f"{name if name in ('min', 'max') else f'math.{name}'}({inner})"
        case _:
            raise AssertionError(f"unchecked node {ast.dump(node)}")


def _terms(node: ast.AST, variables: frozenset[str], written: Mapping[str, str]) -> dict[str, str] | None:
    if not _names(node) & variables:
        return {"": _code(node, written)}
    match node:
        case ast.Name(id=name):
            return {name: "1.0"}
        case ast.UnaryOp(op=operator, operand=operand):
            sign = "-" if isinstance(operator, ast.USub) else ""
            return _each(_terms(operand, variables, written), f"({sign}{{}})")
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() as operator, right=right):
            return _sum(
                _terms(left, variables, written), _terms(right, variables, written),
                "+" if isinstance(operator, ast.Add) else "-",
            )  # fmt: skip
        case ast.BinOp(left=left, op=ast.Mult(), right=right) if not _names(left) & variables:
            return _each(_terms(right, variables, written), f"({_code(left, written)} * {{}})")
        case ast.BinOp(left=left, op=ast.Mult() | ast.Div() as operator, right=right) if (
            not _names(right) & variables
        ):
            sign = "*" if isinstance(operator, ast.Mult) else "/"
            return _each(_terms(left, variables, written), f"({{}} {sign} {_code(right, written)})")
        case _:
            return None


def _each(terms: dict[str, str] | None, form: str) -> dict[str, str] | None:
    return None if terms is None else {name: form.format(value) for name, value in terms.items()}


def _sum(left: dict[str, str] | None, right: dict[str, str] | None, sign: str) -> dict[str, str] | None:
    if left is None or right is None:
        return None
    made = dict(left)
    for name, value in right.items():
        made[name] = f"({made[name]} {sign} {value})" if name in made else f"({sign}{value})"
    return made
