"""Which names of W&B a script uses that modelyard lacks or that differ, found without running it.

Expressions are followed from `import wandb` on, over assignments, calls, loops and
annotations, with the modules and classes of modelyard as their values. What a name in
another file holds is not followed.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from modelyard.stand_in import values
from modelyard.stand_in.values import Lacking, Value

_PACKAGES = ("wandb", "modelyard")
_FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


@dataclass(frozen=True, order=True)
class Finding:
    """A use of a name: `lacking`, `differs`, or `unknown` where neither can be said."""

    line: int
    name: str
    state: str
    reason: str


@dataclass(frozen=True)
class Report:
    """What was found in one script."""

    names: frozenset[str]
    findings: tuple[Finding, ...]

    def count(self, state: str) -> int:
        """How many of the findings have that state."""
        return sum(finding.state == state for finding in self.findings)


def look_through(path: Path) -> Report:
    """Reads a script. Errors: OSError, SyntaxError, UnicodeDecodeError."""
    tree = ast.parse(path.read_bytes(), str(path))
    reader = _Reader()
    # Twice: a function may use a name that is assigned below it.
    for _ in range(2):
        reader.names, reader.findings = set(), set()
        reader.visit(tree)
    return Report(frozenset(reader.names), tuple(_without_repetition(sorted(reader.findings))))


def _without_repetition(findings: Sequence[Finding]) -> Iterator[Finding]:
    """Those that differ once, where they are used first; the others at each use."""
    told = set()
    for finding in findings:
        if finding.state != "differs" or finding.name not in told:
            yield finding
        told.add(finding.name)


class _Reader(ast.NodeVisitor):
    def __init__(self) -> None:
        self.names: set[str] = set()
        self.findings: set[Finding] = set()
        self._scopes: list[dict[str, Value]] = [{}]

    # Statements that give a name its value.

    def visit_Import(self, node: ast.Import) -> None:
        """`import wandb`, `import wandb.sdk as sdk`."""
        for alias in node.names:
            if _is_wandb(alias.name):
                module = self._module(node, alias.name)
                if alias.asname:
                    self._bind(alias.asname, module)
                else:
                    top = alias.name.partition(".")[0]
                    self._bind(top, self._module(node, top))

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """`from wandb.sdk import wandb_run`."""
        if node.level or not _is_wandb(node.module or ""):
            return
        module = self._module(node, node.module or "")
        for alias in node.names:
            if alias.name == "*":
                self._find(node, f"{node.module}.*", "unknown", "import the names that are used")
            else:
                found = self._member(node, module, alias.name)
                self._bind(alias.asname or alias.name, found)

    def visit_Assign(self, node: ast.Assign) -> None:
        """`run = wandb.init()`."""
        found = self._value(node.value)
        for target in node.targets:
            self._assign(target, found)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        """`run: wandb.Run = …`."""
        annotated = self._annotation(node.annotation)
        found = self._value(node.value) if node.value else None
        self._assign(node.target, found or annotated)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        """`(run := wandb.init())`."""
        self._value(node)

    def visit_With(self, node: ast.With | ast.AsyncWith) -> None:
        """`with wandb.init() as run:`."""
        for item in node.items:
            found = self._value(item.context_expr)
            if item.optional_vars:
                self._assign(item.optional_vars, found)
        for statement in node.body:
            self.visit(statement)

    visit_AsyncWith = visit_With  # noqa: N815  # as ast.NodeVisitor calls it

    def visit_For(self, node: ast.For | ast.comprehension) -> None:
        """`for run in api.runs():`, also within a comprehension."""
        self._assign(node.target, values.item(self._value(node.iter)))
        for child in (*getattr(node, "body", ()), *getattr(node, "orelse", ()), *getattr(node, "ifs", ())):
            self.visit(child)

    visit_comprehension = visit_For

    def visit_FunctionDef(self, node: _FUNCTIONS) -> None:
        """A scope of its own, in which annotated parameters have values."""
        for decorator in getattr(node, "decorator_list", ()):
            self.visit(decorator)
        for default in (*node.args.defaults, *filter(None, node.args.kw_defaults)):
            self.visit(default)
        scope: dict[str, Value] = {}
        for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
            scope[argument.arg] = self._annotation(argument.annotation) if argument.annotation else None
        if not isinstance(node, ast.Lambda):
            self._bind(node.name, values.returning(self._annotation(node.returns) if node.returns else None))
        self._scopes.append(scope)
        for child in [node.body] if isinstance(node, ast.Lambda) else node.body:
            self.visit(child)
        self._scopes.pop()

    visit_AsyncFunctionDef = visit_Lambda = visit_FunctionDef  # noqa: N815  # as ast.NodeVisitor calls it

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> None:
        self._scopes.append({})
        for generator in node.generators:
            self.visit(generator)
        for part in ("key", "value", "elt"):
            if hasattr(node, part):
                self.visit(getattr(node, part))
        self._scopes.pop()

    visit_ListComp = visit_SetComp = visit_GeneratorExp = visit_DictComp = _comprehension  # noqa: N815  # as ast.NodeVisitor calls it

    # Expressions.

    def visit_Attribute(self, node: ast.Attribute) -> None:
        """`run.log`."""
        self._value(node)

    def visit_Call(self, node: ast.Call) -> None:
        """`run.log(…)`."""
        self._value(node)

    def _value(self, node: ast.expr) -> Value:
        """What an expression is; None where that is not known. What is used in it is noted."""
        match node:
            case ast.Name():
                return self._lookup(node.id)
            case ast.Attribute():
                owner = self._value(node.value)
                known = self._lookup(ast.unparse(node)) if isinstance(node.value, ast.Name) else None
                if known is not None or not isinstance(node.ctx, ast.Load):
                    return known
                return self._member(node, owner, node.attr)
            case ast.Call():
                return self._call(node)
            case ast.Await() | ast.Starred():
                return self._value(node.value)
            case ast.NamedExpr():
                found = self._value(node.value)
                self._assign(node.target, found)
                return found
            case ast.Subscript():
                self.visit(node.slice)
                return values.item(self._value(node.value))
            case ast.BoolOp():
                return _first([self._value(part) for part in node.values])
            case ast.IfExp():
                self.visit(node.test)
                return _first([self._value(node.body), self._value(node.orelse)])
        self.visit(node)
        return None

    def _call(self, node: ast.Call) -> Value:
        function = self._value(node.func)
        for argument in node.args:
            self._value(argument)
        for keyword in node.keywords:
            self._value(keyword.value)
        if isinstance(node.func, ast.Name) and function is None:
            self._by_name(node)
        for name in values.arguments_lacking(function, [keyword.arg or "" for keyword in node.keywords]):
            called = values.name_of(function)
            self._find(node, f"{called}({name}=)", "lacking", f"{called} has no argument {name}")
        return values.result(function)

    def _by_name(self, node: ast.Call) -> None:
        """`getattr(wandb, name)`: known where the name is a text in the script."""
        match node:
            case ast.Call(func=ast.Name(id="getattr" | "hasattr" as call), args=[owner, name, *default]):
                found = self._value(owner)
                if found is None:
                    return
                if not isinstance(name, ast.Constant):
                    self._find(node, ast.unparse(node), "unknown", "the name is computed")
                elif call == "getattr" and not default:
                    self._member(node, found, str(name.value))

    def _annotation(self, node: ast.expr) -> Value:
        """An instance of the class that an annotation names, such as `wandb.Run | None`."""
        match node:
            case ast.Constant(value=str(text)):
                try:
                    return self._annotation(ast.parse(text, mode="eval").body)
                except SyntaxError:
                    return None
            case ast.BinOp(op=ast.BitOr()):
                return _first([self._annotation(node.left), self._annotation(node.right)])
            case ast.Subscript():
                self.visit(node.value)
                return self._annotation(node.slice)
            case ast.Tuple():
                return _first([self._annotation(part) for part in node.elts])
        return values.result(self._value(node), only_classes=True)

    # Names.

    def _assign(self, target: ast.expr, value: Value) -> None:
        match target:
            case ast.Name():
                self._bind(target.id, value)
            case ast.Attribute(value=ast.Name()) if value is not None:
                # `self.run` of one method is that of the others.
                self._scopes[0][ast.unparse(target)] = value
            case ast.Tuple() | ast.List():
                for part in target.elts:
                    self._assign(part, None)
            case _:
                self.visit(target)

    def _bind(self, name: str, value: Value) -> None:
        scope = self._scopes[-1]
        # What is not known does not hide what is: `run = None` stands before `run = wandb.init()`.
        scope[name] = value if value is not None else scope.get(name)

    def _lookup(self, name: str) -> Value:
        for scope in reversed(self._scopes):
            if name in scope:
                return scope[name]
        return None

    def _module(self, node: ast.AST, name: str) -> Value:
        found = values.module(name)
        self.names.add(values.as_wandb(name))
        if isinstance(found, Lacking):
            self._find(node, values.as_wandb(name), "lacking", found.reason)
            return None
        return found

    def _member(self, node: ast.AST, owner: Value, name: str) -> Value:
        if owner is None:
            return None
        full = f"{values.name_of(owner)}.{name}"
        self.names.add(full)
        found = values.member(owner, name)
        if isinstance(found, Lacking):
            self._find(node, full, "lacking", found.reason)
            return None
        if differs := values.difference(owner, name):
            self._find(node, full, "differs", differs)
        return found

    def _find(self, node: ast.AST, name: str, state: str, reason: str) -> None:
        self.findings.add(Finding(getattr(node, "lineno", 0), name, state, reason))


def scripts(paths: Sequence[Path]) -> Iterator[Path]:
    """The files, and those that end in `.py` below the folders."""
    for path in paths:
        if path.is_dir():
            yield from sorted(path.rglob("*.py"))
        else:
            yield path


def _is_wandb(module: str) -> bool:
    return module.partition(".")[0] in _PACKAGES


def _first(found: Sequence[Value]) -> Value:
    return next((value for value in found if value is not None), None)
