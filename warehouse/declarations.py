"""Reads the YAML files that declare feeds, exports and models: nothing in them may be ignored or win in silence."""

from pathlib import Path

import yaml

from warehouse.errors import PlatformError


class _UniqueKeys(yaml.SafeLoader):
    """YAML lets a second key of the same name win in silence; a feed, a column or a threshold would vanish."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"key {key.value!r} appears twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_blocks(path: Path, what: str) -> dict:
    """Name → block of a YAML file that declares `what` (feed, export, model); a fault of its form is a PlatformError."""
    try:
        blocks = yaml.load(path.read_text(encoding="utf-8"), _UniqueKeys)
    except FileNotFoundError:
        raise PlatformError(f"{path} is missing: each {what} is declared there") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise PlatformError(f"{path.name}: line {line}: {error.problem}") from None
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise PlatformError(f"{path.name}: cannot be read as YAML in UTF-8 ({error})") from None
    if not isinstance(blocks, dict) or not blocks:
        raise PlatformError(f"{path.name}: must be a map of {what} names to blocks, and holds none")
    return blocks


def line_of(path: Path, place) -> int:
    """The line on which the key at `place` (names and list positions from the top) stands, or the last one found above it."""
    node, line = yaml.compose(path.read_text(encoding="utf-8"), yaml.SafeLoader), 1
    for part in place:
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == str(part)), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            found = (node.value[part], node.value[part])
        else:
            found = None
        if found is None:
            break
        line, node = found[0].start_mark.line + 1, found[1]
    return line
