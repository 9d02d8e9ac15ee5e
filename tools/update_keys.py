"""Write the tables of docs/keys.md from the code: `python tools/update_keys.py`, or `--check` to compare them.

Keys, types and defaults are the fields of RunConfig, Recipe, Augmentation and LossWeights, read out of the source, so
that torch need not be there; what a key does is the string after its field. The options of inputs and outputs are the
flags of `rtseg run`, each with the kinds whose class takes it.
"""

from __future__ import annotations

import argparse
import ast
import itertools
import re
import sys
import typing
from collections.abc import Iterator
from pathlib import Path

from rtseg import registry
from rtseg.cli.flags import RENAMED, SINK_FLAGS, SOURCE_FLAGS
from rtseg.config import DEFAULT_MODEL
from rtseg.files import write_text
from rtseg.geometry import FitMode

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "keys.md"
RECORDS = {
    "run": ("rtseg/config.py", "RunConfig"),
    "recipe": ("rtseg/training/recipe.py", "Recipe"),
    "augmentation": ("rtseg/training/transforms.py", "Augmentation"),
    "loss": ("rtseg/training/losses.py", "LossWeights"),
}
WORDS = {
    "str": "text",
    "int": "whole number",
    "float": "number",
    "bool": "true, false",
    "FitMode": ", ".join(typing.get_args(FitMode)),
    "tuple[str, ...]": "list of text",
    "tuple[int, ...]": "list of whole numbers",
    "tuple[int, int]": "two whole numbers",
    "tuple[float, float]": "two numbers",
    "dict[str, Any]": "table",
    "dict[str, float]": "table of numbers",
    "Augmentation": "table",
    "LossWeights": "table",
}


def fields(path: Path, name: str) -> Iterator[tuple[str, str, str, str]]:
    """Each field of a class: its name, type, default and the string that follows it, all but the last as code."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    for node, after in itertools.pairwise(body):
        if not isinstance(node, ast.AnnAssign):
            continue
        field = ast.unparse(node.target)
        text = after.value if isinstance(after, ast.Expr) else None
        if not (isinstance(text, ast.Constant) and isinstance(text.value, str)):
            raise SystemExit(f"{path}: {name}.{field} has no string after it that says what it is")
        default = "" if node.value is None else ast.unparse(node.value)
        yield field, ast.unparse(node.annotation), default, text.value


def type_words(annotation: str) -> str:
    """A type as a reader of YAML knows it."""
    plain = annotation.removesuffix(" | None")
    literal = re.fullmatch(r"Literal\[(.*)\]", plain)
    return ", ".join(ast.literal_eval(f"[{literal[1]}]")) if literal else WORDS[plain]


def default_words(default: str) -> str:
    """A default as it is written in YAML; nothing for a key that must be given, or that is left out."""
    if default in ("", "None", "{}", "()", "LossWeights()"):
        return ""
    if default == "DEFAULT_MODEL":
        return f"`{DEFAULT_MODEL}`"
    value = ast.literal_eval(default)
    if isinstance(value, tuple):
        return f"`[{', '.join(str(each) for each in value)}]`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def cell(text: str) -> str:
    return text.replace("|", "\\|")


def record_table(path: Path, name: str) -> str:
    """Keys of a record."""
    rows = ["| key | value | default | what |", "| --- | --- | --- | --- |"]
    for field, annotation, default, text in fields(path, name):
        must = "*must be given*" if not default else default_words(default)
        rows.append(cell_row(f"`{field}`", type_words(annotation), must, text))
    return "\n".join(rows)


def cell_row(*cells: str) -> str:
    return f"| {' | '.join(cell(each) for each in cells)} |"


def options(target: str) -> list[str]:
    """The keyword arguments of what "module:attribute" names, without importing it."""
    module, name = target.split(":")
    tree = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            inits = [each for each in node.body if isinstance(each, ast.FunctionDef) and each.name == "__init__"]
            return [argument.arg for argument in inits[0].args.kwonlyargs] if inits else []
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return [argument.arg for argument in node.args.kwonlyargs]
    raise SystemExit(f"{module} has no {name}")


def option_table(table: registry.Table, flags: tuple[tuple[str, object, str, str], ...]) -> str:
    """Options of the inputs or outputs: the key, its flag, and the kinds that take it."""
    takes = {kind: options(target) for kind, (target, _) in table.items()}
    rows = ["| key | flag | value | for | what |", "| --- | --- | --- | --- | --- |"]
    for flag, _, shown, text in flags:
        key = flag[2:].replace("-", "_")
        key = RENAMED.get(key, key)
        kinds = ", ".join(kind for kind, known in takes.items() if key in known)
        rows.append(cell_row(f"`{key}`", f"`{flag}`", shown, kinds, text))
    return "\n".join(rows)


def updated(page: str) -> str:
    """The page with its tables as the code has them."""
    tables = {mark: record_table(ROOT / path, name) for mark, (path, name) in RECORDS.items()}
    tables |= {
        "source": option_table(registry.SOURCES, SOURCE_FLAGS),
        "sink": option_table(registry.SINKS, SINK_FLAGS),
    }
    for mark, table in tables.items():
        begin, end = f"<!-- {mark} -->", f"<!-- /{mark} -->"
        if begin not in page or end not in page:
            raise SystemExit(f"{PAGE} lacks {begin} … {end}")
        page = f"{page.partition(begin)[0]}{begin}\n{table}\n{end}{page.partition(end)[2]}"
    return page


def main() -> int:
    """Write the page, or compare it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, fail where the page differs")
    args = parser.parse_args()
    page = PAGE.read_text(encoding="utf-8")
    new = updated(page)
    if args.check:
        if new != page:
            print(f"{PAGE} is not what the code says: python tools/update_keys.py", file=sys.stderr)
        return int(new != page)
    write_text(PAGE, new)
    print(f"wrote {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
