"""The rules of the architecture that hold between files: who imports whom, and what a module says is public.

No import cycle exists anywhere. Within transforms, imports go down the LAYERS. In a pipeline's folder only the wiring
(MAY_IMPORT_BEAM and steps/) imports Beam. The domain's logic never does, not even inside a function, and opens files
through transforms.files.
"""

from __future__ import annotations

import ast
import functools
import graphlib
import importlib
import pathlib
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from apache_beam.options.pipeline_options import PipelineOptions

from recbeam.__main__ import COMMANDS

T = TypeVar("T")
ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGES = ("recbeam", "pipelines", "transforms", "serving_client", "local_serving")
MODULES = sorted(path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
PIPELINES = sorted(path.parent.name for path in (ROOT / "pipelines").glob("*/__init__.py"))
SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]

MAY_IMPORT_BEAM = {"command.py", "options.py", "pipeline.py", "__main__.py", "metrics.py", "run.py"}
# Modules of a pipeline that may see Beam's options. All others take the frozen settings that options.py makes of them.
MAY_SEE_OPTIONS = {"options.py", "checks.py", "command.py"}
HEAVY = {"apache_beam", "tensorflow", "tensorflow_serving", "tensorflow_transform", "tfx_bsl"}

# Within transforms a module imports from its own layer's folder or from a lower layer.
LAYERS = (
    ("errors", "extras", "hashing", "progress"),
    ("files",),
    ("dead_letters",),
    ("histories", "inference", "ranking", "reports", "interactions"),
    ("models",),
    ("runs",),
    ("lineage",),
)
# Modules of transforms that fewer than two pipelines and commands reach, with the reason why they are there.
FEW_USERS = {
    "transforms.attribution": "reward_stream joins the logs, and batch pipelines read them through joined",
    "transforms.files.shared_bucket": "conditional writes are about storage, not about one pipeline's snapshots",
    "transforms.files.shared_folder": "as shared_bucket",
    "transforms.files.shared_interface": "as shared_bucket",
    "transforms.lineage": "the command recbeam lineage",
    "transforms.models.server_config": "part of sync, which is a command of its own",
    "transforms.models.server_status": "as server_config",
    "transforms.models.sync": "as server_config",
    "transforms.models.sync_source": "as server_config",
    "transforms.publish": "the command python -m transforms.publish",
    "transforms.sync": "the command python -m transforms.sync",
}


def for_each(subjects: Iterable[T]) -> Callable[[Callable[[T], None]], Callable[[], None]]:
    """Turn a check of one subject into one test of all, whose failure names every subject that fails.

    One test per file and rule were 1,600 tests, and their set-up took longer than the checks.
    """

    def decorate(check: Callable[[T], None]) -> Callable[[], None]:
        def test() -> None:
            failures = []
            for subject in subjects:
                try:
                    check(subject)
                except AssertionError as error:
                    failures.append(f"{subject}: {error}")
            assert not failures, "\n".join(failures)

        test.__name__, test.__doc__ = check.__name__, check.__doc__
        return test

    return decorate


@functools.cache
def parsed(path: pathlib.Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text())


@functools.cache
def imports(path: pathlib.Path) -> set[str]:
    """Dotted names of all modules that a file imports anywhere, functions and TYPE_CHECKING blocks included."""
    found: set[str] = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports here are absolute"
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def roots(path: pathlib.Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path)}


def definitions(tree: ast.Module) -> Iterator[tuple[str, ast.stmt]]:
    """Names a module defines at its top level, with the statement; what it imports is another module's."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names = [node.name]
        elif isinstance(node, ast.Assign):
            names = [name.id for target in node.targets for name in ast.walk(target) if isinstance(name, ast.Name)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names = [node.target.id]
        else:
            continue
        yield from ((name, node) for name in names if not name.startswith("_") or name == "__version__")


def taken_from(module: str) -> set[str]:
    """Names that other modules of the project import from this one."""
    return {name.removeprefix(f"{module}.") for name in ALL_IMPORTS if name.rpartition(".")[0] == module}


def declared(tree: ast.Module) -> list[str] | None:
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            names = ast.literal_eval(node.value)
            assert isinstance(names, list), "__all__ is a list of strings"
            return names
    return None


ALL_IMPORTS = {name for path in MODULES for name in imports(path)}
NAMES = {".".join(path.with_suffix("").parts).removesuffix(".__init__"): path for path in MODULES}


def module_of(name: str) -> str | None:
    """The project's module that a dotted name lies in, None for a name of another package."""
    while name and name not in NAMES:
        name = name.rpartition(".")[0]
    return name or None


GRAPH = {
    module: {found for name in imports(path) if (found := module_of(name)) not in (None, module)}
    for module, path in NAMES.items()
}


def layer(module: str) -> int | None:
    """The layer of a module of transforms, None where no layer is fixed."""
    subject = module.split(".")[1] if module.startswith("transforms.") else ""
    return next((at for at, names in enumerate(LAYERS) if subject in names), None)


def reached(package: str) -> set[str]:
    """All modules of the project that the modules of a package import, directly or through others."""
    open_ = [module for module in GRAPH if f"{module}.".startswith(f"{package}.")]
    found = set(open_)
    while open_:
        new = GRAPH[open_.pop()] - found
        found |= new
        open_ += new
    return found


def under(path: pathlib.Path, *parts: str) -> bool:
    return path.parts[: len(parts)] == parts


@for_each([p for p in MODULES if under(p, "pipelines")])
def test_only_the_wiring_of_a_pipeline_imports_beam(path: pathlib.Path) -> None:
    wiring = path.name in MAY_IMPORT_BEAM or path.parts[2:3] == ("steps",)
    assert wiring or "apache_beam" not in roots(path), f"{path} holds domain logic: use transforms.files or steps/"


@for_each([p for p in MODULES if p.name == "pipeline.py"])
def test_a_pipeline_file_is_wiring_alone(path: pathlib.Path) -> None:
    bases = {
        ast.unparse(base).split("[")[0].rpartition(".")[2]
        for node in ast.walk(ast.parse((ROOT / path).read_text()))
        if isinstance(node, ast.ClassDef)
        for base in node.bases
    }
    assert not bases & {"DoFn", "PTransform", "CombineFn"}, f"{path} defines a transform; move it to steps/"


@for_each([p for p in MODULES if under(p, "pipelines")])
def test_below_the_command_a_pipeline_takes_settings_and_not_options(path: pathlib.Path) -> None:
    if path.name in MAY_SEE_OPTIONS:
        return
    found = {name for name in imports(path) if name.endswith("Options") or "pipeline_options" in name}
    assert not found, f"{path} imports {sorted(found)}; take the frozen settings of options.py"


@for_each([p for p in MODULES if under(p, "pipelines")])
def test_a_pipeline_imports_no_other_pipeline(path: pathlib.Path) -> None:
    own = f"pipelines.{path.parts[1]}" if len(path.parts) > 2 else "pipelines"
    others = {f"pipelines.{name}" for name in PIPELINES} - {own}
    crossing = {name for name in imports(path) for other in others if f"{name}.".startswith(f"{other}.")}
    assert not crossing, f"{path} imports {sorted(crossing)}; what two pipelines share lives in transforms"


def test_no_modules_import_each_other() -> None:
    list(graphlib.TopologicalSorter(GRAPH).static_order())  # raises CycleError, which names the cycle


@for_each([name for name in GRAPH if layer(name) is not None])
def test_transforms_import_lower_layers_alone(module: str) -> None:
    own, subject = layer(module), module.split(".")[1]
    assert own is not None
    for name in GRAPH[module]:
        other = layer(name)
        inside = name.startswith(f"transforms.{subject}.")
        assert other is None or inside or other < own or (other == own == 0), f"{module} imports {name}, a layer above"


def test_attribution_imports_no_interactions() -> None:
    found = {name for module, names in GRAPH.items() if module.startswith("transforms.attribution") for name in names}
    assert not {name for name in found if name.startswith("transforms.interactions")}


def test_a_module_of_transforms_has_two_users_or_a_reason() -> None:
    users = {name: reached(f"pipelines.{name}") for name in PIPELINES}
    few = {
        module
        for module, path in NAMES.items()
        if module.startswith("transforms.")
        and path.name != "__init__.py"
        and sum(module in modules for modules in users.values()) < 2
    }
    excused = {module for module in few for reason in FEW_USERS if f"{module}.".startswith(f"{reason}.")}
    assert not few - excused, (
        f"{sorted(few - excused)}: move to the pipeline that uses it, or add a reason to FEW_USERS"
    )


@for_each([p for p in MODULES if under(p, "local_serving")])
def test_the_model_server_imports_neither_transforms_nor_pipelines(path: pathlib.Path) -> None:
    assert not roots(path) & {"transforms", "pipelines"}


@for_each([p for p in MODULES if under(p, "transforms")])
def test_transforms_import_no_pipeline(path: pathlib.Path) -> None:
    assert "pipelines" not in roots(path)


@for_each([p for p in MODULES if under(p, "serving_client")])
def test_the_client_imports_neither_beam_nor_tensorflow_nor_what_needs_them(path: pathlib.Path) -> None:
    assert not roots(path) & (HEAVY | {"pipelines", "transforms", "local_serving"})


@for_each([p for p in MODULES if under(p, "serving_client", "contracts")])
def test_contracts_import_the_standard_library_and_numpy_alone(path: pathlib.Path) -> None:
    foreign = {
        name
        for name in imports(path)
        if not name.startswith("serving_client.contracts.")
        and name.split(".")[0] not in sys.stdlib_module_names | {"numpy"}
    }
    assert not foreign


@for_each(MODULES)
def test_all_names_exactly_what_a_module_offers(path: pathlib.Path) -> None:
    """Every function and class without _, and every constant or alias that another module imports; nothing unknown."""
    tree = parsed(path)
    module = ".".join(path.with_suffix("").parts).removesuffix(".__init__")
    defined = dict(definitions(tree))
    offered = {name for name, node in defined.items() if not isinstance(node, ast.Assign | ast.AnnAssign)}
    if path.name == "__init__.py":  # a package may hand on what its modules define
        lazily = [node for one in tree.body if isinstance(one, ast.If) for node in one.body]  # under TYPE_CHECKING
        handed_on = [node for node in [*tree.body, *lazily] if isinstance(node, ast.ImportFrom)]
        foreign = {"__future__", "typing"}
        offered |= {
            alias.asname or alias.name for node in handed_on if node.module not in foreign for alias in node.names
        }
    known = offered | set(defined)
    offered |= taken_from(module) & set(defined)
    names = declared(tree)
    if names is None:
        assert not offered, f"{path} offers {sorted(offered)} and has no __all__"
        return
    assert len(names) == len(set(names)), f"{path}: __all__ names something twice"
    extra, missing = sorted(set(names) - known), sorted(offered - set(names))
    assert not extra, f"{path}: __all__ names {extra}, which it does not define"
    assert not missing, f"{path}: {missing} look public; add them to __all__ or begin them with _"


@for_each(MODULES)
def test_no_module_takes_what_another_keeps_private(path: pathlib.Path) -> None:
    ours = {name.rpartition(".")[2] for name in imports(path) if name.split(".")[0] in PACKAGES}
    assert not {name for name in ours if name.startswith("_") and not name.startswith("__")}


@for_each(MODULES)
def test_every_module_says_which_question_it_answers(path: pathlib.Path) -> None:
    assert ast.get_docstring(parsed(path))


@for_each(PACKAGES)
def test_every_package_is_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").exists()


@for_each([p for p in MODULES if under(p, "recbeam")])
def test_the_recbeam_command_imports_the_standard_library_alone(path: pathlib.Path) -> None:
    """The sub-commands' modules are imported when they run; the one import inside a function is as light."""
    assert roots(path) <= sys.stdlib_module_names | {"recbeam", "transforms"}
    names = {name for name in imports(path) if name.startswith("transforms")}
    assert names <= {"transforms.extras.missing"}


@for_each(SCRIPTS)
def test_every_installed_script_exists_and_is_in_the_readme(script: str) -> None:
    module, function = SCRIPTS[script].split(":")
    tree = ast.parse((ROOT / module.replace(".", "/")).with_suffix(".py").read_text())
    assert function in dict(definitions(tree))
    assert script in (ROOT / "README.md").read_text(), f"README.md does not name the command {script}"


def test_the_installed_scripts_are_recbeam_and_the_two_that_a_base_install_needs() -> None:
    assert set(SCRIPTS) == {"recbeam", "serving-client", "local-serving"}


@for_each(COMMANDS)
def test_every_sub_command_exists_and_is_in_the_readme(name: str) -> None:
    path = (ROOT / COMMANDS[name].module.replace(".", "/")).with_suffix(".py")
    assert "main" in dict(definitions(ast.parse(path.read_text())))
    assert f"recbeam {name}" in (ROOT / "README.md").read_text(), f"README.md does not name recbeam {name}"


def test_every_pipeline_with_a_command_line_is_a_sub_command() -> None:
    mains = {f"pipelines.{name}.__main__" for name in PIPELINES if (ROOT / f"pipelines/{name}/__main__.py").exists()}
    assert mains == {command.module for command in COMMANDS.values() if command.module.startswith("pipelines.")}


def test_the_flags_of_all_pipelines_live_in_one_process() -> None:
    """Beam parses the flags of all direct subclasses of PipelineOptions together, in whichever pipeline runs."""
    for name in PIPELINES:
        importlib.import_module(f"pipelines.{name}.options")
    PipelineOptions([]).get_all_options()
