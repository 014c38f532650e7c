"""Reads the YAML files that declare feeds, exports and models: nothing in them may be ignored or win in silence.

Each fault is said with its file and line: keys that stand twice, are unknown or missing, values of a wrong type or form.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from warehouse.errors import PlatformError

Made = TypeVar("Made")


class Strict(BaseModel):
    """A block of a YAML file: unknown keys and values of another type ("yes" for true, "4" for 4) are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class UniqueKeys(yaml.SafeLoader):
    """YAML lets a second key of the same name win in silence; a feed, a column or a threshold would vanish."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key must be a plain name", problem_mark=key.start_mark)
            if (name := _name(self, key)) in seen:
                raise yaml.MarkedYAMLError(problem=f"key {key.value!r} appears twice", problem_mark=key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)

    def construct_object(self, node, deep=False):
        try:
            return super().construct_object(node, deep)
        except ValueError as error:  # a date such as 2024-02-30
            raise yaml.MarkedYAMLError(problem=f"{node.value}: {error}", problem_mark=node.start_mark) from None


def _name(loader: yaml.SafeLoader, key: yaml.ScalarNode):
    """A key as it counts: `yes` and `true` are one; `<<` takes a block over, and is no name."""
    return key.value if key.tag == "tag:yaml.org,2002:merge" else loader.construct_object(key)


def read_blocks(path: Path, what: str, may_be_empty: bool = False) -> dict:
    """Name → block of a YAML file that declares `what` (feed, export, model); a fault of its form is a PlatformError."""
    try:
        blocks = yaml.load(path.read_text(encoding="utf-8"), UniqueKeys)
    except FileNotFoundError:
        raise PlatformError(f"{path} is missing: each {what} is declared there") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise PlatformError(f"{path.name}: line {line}: {error.problem}") from None
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise PlatformError(f"{path.name}: cannot be read as YAML in UTF-8 ({error})") from None
    if may_be_empty and blocks in (None, {}):
        return {}
    if not isinstance(blocks, dict) or not blocks:
        raise PlatformError(f"{path.name}: must be a map of {what} names to blocks, and holds none")
    return blocks


def read(
    path: Path, what: str, make: Callable[[dict], Made], say: Callable[[str, dict], str], may_be_empty: bool = False
) -> dict[str, Made]:
    """Name → what `make` makes of its block, with `name` in it, in the order of the file.

    All faults are said in one PlatformError, a sentence each with its line: `say` words one of pydantic's, given the name.
    """
    found, faults = {}, []
    for name, block in read_blocks(path, what, may_be_empty).items():
        if not isinstance(block, dict):
            faults.append(([name], f"{what} {name}: must be a block of keys"))
        elif "name" in block:
            faults.append(([name, "name"], f"{what} {name}: unknown key 'name': the block's own key names it"))
        else:
            try:
                found[name] = make(block | {"name": str(name)})
            except ValidationError as error:
                faults += [([name, *fault["loc"]], say(str(name), fault)) for fault in error.errors()]
    if faults:
        by_line = sorted(((line_of(path, place), said) for place, said in faults), key=lambda one: one[0])
        raise PlatformError("\n".join(f"{path.name}: {said} (line {line})" for line, said in by_line))
    return found


def line_of(path: Path, place) -> int:
    """The line on which the key at `place` (names and list positions from the top) stands, or the last one found above it."""
    node, line = yaml.compose(path.read_text(encoding="utf-8"), yaml.SafeLoader), 1
    for part in place:
        if isinstance(node, yaml.MappingNode):
            found = next(
                (pair for pair in node.value if part == yaml.safe_load(pair[0].value) or str(part) == pair[0].value),
                None,
            )
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            found = (node.value[part], node.value[part])
        else:
            found = None
        if found is None:  # no key of the file: one that is missing, or a name of pydantic's for one of several forms
            continue
        line, node = found[0].start_mark.line + 1, found[1]
    return line


def _is_called(key: yaml.Node, name) -> bool:
    """Whether a key is this name; one such as `on` or `2024` may be known by its value."""
    return isinstance(key, yaml.ScalarNode) and (key.value == str(name) or yaml.safe_load(key.value) == name)


def allowed(model: type[BaseModel]) -> str:
    """The keys of a block of this model, for a message."""
    names = (field.alias or name for name, field in model.model_fields.items() if name != "name")
    return f"allowed keys: {', '.join(sorted(names))}"


def sentence(fault: dict, place: list[str], model: type[BaseModel]) -> str:
    """A pydantic fault at `place` of a block as a sentence with the key and what `model` allows there."""
    key, where, keys = ".".join(place), ".".join(place[:-1]), allowed(model)
    match fault["type"]:
        case "string_type" if place[-1:] == ["[key]"]:
            return f"a name in {place[0]} is {fault['input']!r} to YAML: put it in quotes"
        case "extra_forbidden":
            return f"unknown key {place[-1]!r}{f' in {where}' if where else ''}; {keys}"
        case "missing":
            return f"key {place[-1]!r}{f' of {where}' if where else ''} is missing; {keys}"
        case "literal_error":
            return f"key {key!r} is {fault['input']!r}; allowed: {fault['ctx']['expected']}"
        case "value_error":
            return f"{key or 'it'} {fault['ctx']['error']}"
        case _:
            return f"key {key!r} is {fault['input']!r}: {fault['msg']}; {keys}"
