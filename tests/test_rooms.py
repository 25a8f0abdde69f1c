"""The rooms of the package and who may import whom (CONTRIBUTING.md, "The rooms").

The law is the tables below; `violations` reads sources with `ast` and never runs them. Modules
are named from the package on: `video.decode` is `sg4v_jax/video/decode.py`, `video` the room's
`__init__.py`, and the empty name the package's.
"""

from __future__ import annotations

import ast
import pathlib
from collections.abc import Iterator, Mapping

import pytest

PACKAGE = "sg4v_jax"
ROOT = pathlib.Path(__file__).parent.parent / PACKAGE
LONGEST_FILE = 500

LEVELS = {
    0: ("", "errors", "files", "batch", "chips", "sharding"),
    1: ("jobs", "report", "video", "text", "world", "endpoint"),
    2: ("models", "data"),
    3: ("weights",),
    4: ("train", "infer"),
    5: ("caption", "evals", "t2v"),
    6: ("tasks",),
    7: ("study", "plan", "bench", "sweep", "harness"),
    8: ("cli", "__main__"),
}
LEVEL_OF = {room: level for level, rooms in LEVELS.items() for room in rooms}

# Within a level a room imports only itself, but for these (room, module) pairs.
SAME_LEVEL = {
    ("files", "errors"),
    ("sharding", "errors"),
    ("sharding", "chips"),
    ("world", "video.encode"),
    ("__main__", "cli.main"),
}

# Data workers and report writers start fast and fork safely because these never load jax.
WITHOUT_JAX = (
    "chips",
    "errors",
    "files",
    "batch",
    "report",
    "video",
    "text",
    "world",
    "data",
    "jobs",
    "endpoint",
    "sweep",
)
BUT_WITH_JAX = ("data.pipeline",)  # runs beside the training step, not in its workers
JAX = ("jax", "jaxlib", "flax", "optax", "orbax")

# Libraries that no module imports, with the modules that may after all.
FORBIDDEN = {
    "torch": (),
    "tensorflow": (),
    "transformers": (),
    "pickle": ("weights.torch_bin",),
    "jax.experimental.pjit": (),
    "jax.experimental.shard_map": (),
}
# What single rooms must not know.
FORBIDDEN_IN = {
    "models": ("ml_collections", "safetensors", f"{PACKAGE}.files"),
    "video": ("ml_collections",),
    "text": ("ml_collections",),
}
FORBIDDEN_CALLS = ("eval", "exec")
FORBIDDEN_ATTRIBUTES = ("nnx.jit", "nnx.scan", "nnx.grad", "nnx.remat")


def room_of(module: str) -> str:
    """`video.decode` -> `video`."""
    return module.split(".")[0]


def imported_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, full dotted name) of everything imported; `from a import b` gives `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def own_module(name: str, modules: Mapping[str, str]) -> str | None:
    """The module of ours that holds dotted `name`, None for what is not ours."""
    parts = name.split(".")
    if parts[0] != PACKAGE:
        return None
    while len(parts) > 1 and ".".join(parts[1:]) not in modules:
        parts.pop()
    return ".".join(parts[1:])


def starts_with(name: str, prefixes: tuple[str, ...]) -> str | None:
    """The prefix (of whole dotted parts) that `name` starts with."""
    return next((p for p in prefixes if f"{name}.".startswith(f"{p}.")), None)


def import_graph(modules: Mapping[str, str]) -> dict[str, set[str]]:
    """For each module, its imports: ours by module name, others as `/name`.

    Importing `video.decode` also runs `video` and the package itself.
    """
    graph = {}
    for module, source in modules.items():
        targets = set()
        for _, name in imported_names(ast.parse(source)):
            own = own_module(name, modules)
            targets.add(f"/{name}" if own is None else own)
        parts = module.split(".")
        targets.update(".".join(parts[:i]) for i in range(len(parts)))
        graph[module] = targets - {module}
    return graph


def way_to_jax(module: str, graph: Mapping[str, set[str]]) -> list[str]:
    """The shortest chain of imports from `module` to jax, empty where there is none."""
    ways, seen = [[module]], {module}
    for way in ways:
        for target in sorted(graph.get(way[-1], ())):
            if target.startswith("/") and starts_with(target[1:], JAX):
                return [*way, target[1:]]
            if target not in seen:
                seen.add(target)
                ways.append([*way, target])
    return []


def wrong_imports(module: str, tree: ast.AST, modules: Mapping[str, str]) -> Iterator[str]:
    """What `module` imports against the tables."""
    room = room_of(module)
    for line, name in imported_names(tree):
        at = f"{module or PACKAGE}:{line}: "
        for forbidden, allowed in FORBIDDEN.items():
            if starts_with(name, (forbidden,)) and module not in allowed:
                yield f"{at}imports {forbidden}"
        if known := starts_with(name, FORBIDDEN_IN.get(room, ())):
            yield f"{at}{room}/ must not know {known}"
        if name.startswith("."):
            yield f"{at}relative import {name}"
        target = own_module(name, modules)
        if target is None or room_of(target) == room or (room, target) in SAME_LEVEL:
            continue
        if target == "":
            if any(part in LEVEL_OF for part in name.split(".")[1:2]):
                yield f"{at}imports {name}, which does not exist"
        elif LEVEL_OF.get(room_of(target), 99) >= LEVEL_OF.get(room, -1):
            yield f"{at}{room}/ must not import {target}"


def wrong_expressions(module: str, tree: ast.AST) -> Iterator[str]:
    """Calls and attributes that no module uses."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in FORBIDDEN_CALLS:
                yield f"{module}:{node.lineno}: calls {node.func.id}"
        elif isinstance(node, ast.Attribute) and ast.unparse(node) in FORBIDDEN_ATTRIBUTES:
            yield f"{module}:{node.lineno}: uses {ast.unparse(node)}"


def violations(modules: Mapping[str, str]) -> list[str]:
    """Every breach of the tables in `modules` (name -> source), one message each."""
    found = []
    graph = import_graph(modules)
    for module, source in sorted(modules.items()):
        room = room_of(module)
        if room not in LEVEL_OF:
            found.append(f"{module}: room {room} has no level; add it to LEVELS")
        if "." in module and room not in modules:
            found.append(f"{module}: its room has no __init__.py, so a wheel would leave it out")
        if source.count("\n") > LONGEST_FILE:
            found.append(f"{module}: {source.count(chr(10))} lines; split it by its subjects")
        tree = ast.parse(source)
        found += wrong_imports(module, tree, modules)
        found += wrong_expressions(module, tree)
        barred = room in WITHOUT_JAX and module not in BUT_WITH_JAX
        if barred and (way := way_to_jax(module, graph)):
            found.append(f"{module}: reaches jax: {' -> '.join(way)}")
    return found


def package_modules() -> dict[str, str]:
    """Name and source of every module on disk."""
    modules = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        modules[name] = path.read_text(encoding="utf-8")
    return modules


def test_the_package_keeps_the_law():
    modules = package_modules()
    assert "errors" in modules and "text.chat" in modules
    found = violations(modules)
    assert not found, "\n".join(found)


LAWFUL = {
    "": "__version__ = '1'\n",
    "errors": "",
    "files": f"from {PACKAGE}.errors import ConfigError\n",
    "sharding": "import jax\n",
    "video": "",
    "video.encode": f"import {PACKAGE}\nfrom {PACKAGE} import __version__, files\n",
    "world": "",
    "world.render": f"from {PACKAGE}.video.encode import write_mp4\n",
    "models": "",
    "models.clip": f"import jax\nfrom {PACKAGE}.sharding import constrain\nmodel.eval()\n",
    "weights": "",
    "weights.torch_bin": "import pickle\n",
    "train": "",
    "train.loop": f"from {PACKAGE}.models import clip\nimport {PACKAGE}.weights.torch_bin\n",
}


def test_lawful_modules_pass():
    assert violations(LAWFUL) == []


PLANTED = [
    ("video.decode", "import jax.numpy as jnp", "video.decode: reaches jax: video.decode -> jax."),
    (
        "video.decode",
        f"from {PACKAGE} import sharding",
        "video.decode: reaches jax: video.decode -> sharding -> jax",
    ),
    ("video.decode", f"from {PACKAGE}.world import render", "must not import world.render"),
    ("world.scene", f"import {PACKAGE}.video", "world/ must not import video"),
    ("models.llama", f"from {PACKAGE}.train.loop import run", "must not import train.loop"),
    ("models.llama", f"def f():\n    import {PACKAGE}.weights", "must not import weights"),
    ("models.llama", f"from {PACKAGE} import files", "models/ must not know sg4v_jax.files"),
    ("models.llama", "import ml_collections", "models/ must not know ml_collections"),
    ("models.llama", "from flax import nnx\nf = nnx.jit(g)", "llama:2: uses nnx.jit"),
    ("train.step", f"from {PACKAGE}.infer import cache", "imports sg4v_jax.infer.cache, which"),
    ("train.step", "from .loop import run", "relative import .loop.run"),
    ("train.step", "from torch import nn", "imports torch"),
    ("train.step", "import pickle", "imports pickle"),
    ("train.step", "from jax.experimental import pjit", "imports jax.experimental.pjit"),
    ("train.step", "x = eval('1')", "calls eval"),
    ("train.step", "\n" * (LONGEST_FILE + 1), "split it by its subjects"),
    ("errors", f"from {PACKAGE} import files", "errors/ must not import files"),
    ("data", "import jax", "data: reaches jax: data -> jax"),
    ("attic", "", "room attic has no level"),
    ("jobs.claim", "", "its room has no __init__.py"),
]


@pytest.mark.parametrize(("module", "source", "message"), PLANTED)
def test_a_planted_breach_is_found(module, source, message):
    found = violations({**LAWFUL, module: source})
    assert any(message in line for line in found), found


def test_a_package_init_that_loads_jax_taints_its_room():
    found = violations({**LAWFUL, "video": "import jax"})
    assert "video.encode: reaches jax: video.encode -> video -> jax" in found
