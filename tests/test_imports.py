"""Who may import whom, as the tables of docs/design.md say, and other guards of the structure."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from genmix_aug.cli.main import COMMANDS as GENMIX_COMMANDS
from uda.cli.main import COMMANDS, DATA_COMMANDS
from uda.runs.folder import CHOICES

ROOT = Path(__file__).resolve().parents[1]
ABOVE = ("config", "runs", "compute", "methods", "data", "models", "augment", "training")
ABOVE = (*ABOVE, "pretraining")
EVERYTHING = (*ABOVE, "evaluation", "stages", "sweeps", "inference", "reports", "cli")

# A folder of uda, and the folders that it may import besides itself.
UDA: dict[str, tuple[str, ...]] = {
    "config": (),
    "methods": (),
    "runs": ("config",),
    "compute": ("config",),
    "data": ("config", "runs", "compute"),
    "models": ("runs",),
    "augment": ("models", "runs"),
    "training": ("config", "runs", "compute", "methods", "data", "models", "augment"),
    "pretraining": ("config", "runs", "compute", "data", "models", "augment", "training"),
    "evaluation": ("config", "runs", "methods", "data", "models", "training"),
    "stages": (*ABOVE, "evaluation"),
    "sweeps": (
        *("config", "runs", "methods", "augment", "data", "training", "pretraining", "stages"),
    ),
    "inference": (*ABOVE, "evaluation", "stages"),
    "reports": (
        *("config", "runs", "methods", "augment", "data", "evaluation", "stages", "sweeps"),
    ),
    "cli": EVERYTHING,
}
# The folders of uda that may import genmix_aug, and what of it.
PICTURES = ("images", "codec", "files", "seeding", "contact_sheet", "lettering")
DATA = (*PICTURES, "pools", "progress")
GENMIX_AUG = {
    "runs": ("files",),  # both write files whole in the same way
    "data": DATA,
    "augment": None,  # all of it
    "training": ("progress",),
    "evaluation": PICTURES,
    "stages": None,
    "inference": None,
    "reports": PICTURES,
    "sweeps": ("cluster",),
    "cli": None,
}
# The same for genmix_aug itself, whose modules count as folders.
BASIC = (*DATA, "options", "prompts", "batching", "cluster", "digests")
GENMIX: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(BASIC, BASIC),
    "mixing": BASIC,
    "editors": BASIC,
    "screening": BASIC,
    "edits": (*BASIC, "mixing", "editors", "screening"),
    "transform": (*BASIC, "mixing", "editors", "screening", "edits"),
    "export": (*BASIC, "mixing", "editors", "screening", "edits"),
    "cli": (*BASIC, "mixing", "editors", "screening", "edits", "transform", "export"),
}


def imports(text: str) -> Iterator[str]:
    """Yield the dotted modules that a file's ``text`` imports, anywhere in it."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            assert node.module
            # ``from uda import runs`` imports a module, too.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def folder_of(module: str) -> str:
    """Return ``methods`` of ``uda.methods.lead``; of ``uda`` itself an empty text."""
    return (module.split(".")[1:] or [""])[0]


def wrong_imports(module: str, text: str) -> list[str]:
    """Return the imports that a module with this ``text`` must not have."""
    package, folder = module.split(".")[0], folder_of(module)
    wrong = []
    for imported in imports(text):
        theirs, of = imported.split(".")[0], folder_of(imported)
        if theirs == "diffusers" and not module.startswith("genmix_aug.editors.diffusion."):
            wrong.append(f"{module}: diffusers outside of editors/diffusion")
        if theirs not in ("uda", "genmix_aug") or not folder:
            continue
        if theirs == package:
            table = UDA if package == "uda" else GENMIX
            allowed = of in (folder, *table[folder])
        else:
            parts = GENMIX_AUG.get(folder, ())
            allowed = package == "uda" and (parts is None or of in parts)
        if not allowed:
            wrong.append(f"{module} must not import {imported}")
        if folder == of == "methods" and _is_method(module) and _is_method(imported):
            wrong.append(f"{module}: a method must not import another, {imported}")
    return wrong


def _is_method(module: str) -> bool:
    """Return whether ``uda.methods.NAME…`` is the file of a method, not shared by methods."""
    name = module.split(".")[2:3]
    shared = {"base", "joint", "losses", "geometry", "kmeans", "clusters", "unknown"}
    return (
        bool(name) and name[0] not in shared and (ROOT / "uda/methods" / f"{name[0]}.py").exists()
    )


FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in ("uda", "genmix_aug")
    for path in sorted((ROOT / package).rglob("*.py"))
}


@pytest.mark.parametrize("module", FILES)
def test_imports_follow_the_tables(module):
    if module in ("uda", "genmix_aug"):
        return  # they offer what lies in their folders
    if module == "uda.methods":
        return  # the dict of methods
    assert wrong_imports(module, FILES[module].read_text()) == []


def test_every_folder_is_in_its_table():
    for package, table in (("uda", UDA), ("genmix_aug", GENMIX)):
        assert {folder_of(module) for module in FILES if module.startswith(package)} == {
            "",
            *table,
        }


def test_contributing_shows_the_table():
    rows = re.findall(r"(?m)^\| (\w+) \| (.+) \|$", (ROOT / "CONTRIBUTING.md").read_text())
    order = [name for name, _ in rows]
    assert sorted(order) == sorted(UDA)
    for name, text in rows:
        before = order[: order.index(name)]
        match text.partition(";")[0].split(", "):
            case ["–"] | ["nothing of uda"]:
                imported = []
            case ["everything"]:
                imported = [*before, *order[len(before) + 1 :]]
            case ["all above"]:
                imported = before
            case [words] if words.startswith("all up to "):
                imported = order[: order.index(words.removeprefix("all up to ")) + 1]
            case imported:
                pass
        assert set(imported) == set(UDA[name]) - {name}, name


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("uda.methods.glc", "from uda.methods.lead import Lead"),
        ("uda.methods.glc", "from uda.methods import lead"),
        ("uda.methods.lead", "from uda.data.items import Item"),
        ("uda.runs.folder", "import uda.compute.devices"),
        ("uda.training.train", "from uda.reports.figures import save_png"),
        ("uda.stages.target", "def f():\n    from uda.reports.results import SCORES"),
        ("uda.sweeps.plan", "from uda.reports import results"),
        ("uda.sweeps.plan", "from genmix_aug.edits.store import EditStore"),
        ("uda.training.adapt", "from genmix_aug.images import load_rgb"),
        ("uda.data.pixels", "from genmix_aug.edits.store import EditStore"),
        ("genmix_aug.images", "from genmix_aug.mixing.masks import seam"),
        ("genmix_aug.mixing.mix", "from genmix_aug.edits.store import EditStore"),
        ("genmix_aug.transform", "from uda.models.imagenet import imagenet_features"),
        ("genmix_aug.edits.fill", "import diffusers"),
    ],
)
def test_wrong_imports_are_detected(module, line):
    assert wrong_imports(module, line)


# ---- labels of the target: read by the evaluation, and by the reports of its answers

READERS = {
    "class_name": ("uda.data.",),
    "labels_of": ("uda.data.pixels", "uda.evaluation.evaluate", "uda.evaluation.oracle"),
    "true_label": ("uda.evaluation.", "uda.reports.predictions"),
    "is_private": ("uda.evaluation.", "uda.reports.predictions"),
}
# They count or list classes on disk where a user asks for it; no stage may import them.
ON_DISK = ("uda.data.check", "uda.data.lists")
# The one file that makes something for training of the target's labels, where `adapt.neighbours` is
# oracle: the target stage alone may ask for it.
ORACLE, ORACLES_ASKER = "uda.evaluation.oracle", "uda.stages.target"


def words_of(text: str) -> set[str]:
    """Return names, attributes and whole strings in a file's ``text``."""
    words = set()
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Attribute(attr=word) | ast.Name(id=word) | ast.alias(name=word):
                words.add(word)
            case ast.Constant(value=str(word)) | ast.keyword(arg=str(word)):
                words.add(word)
    return words


def reads_labels(module: str, text: str) -> list[str]:
    """Return what of the target's labels a module must not read and does."""
    words = words_of(text)
    read = [
        word
        for word, readers in READERS.items()
        if word in words and not module.startswith(readers)
    ]
    forbidden = () if module.startswith(("uda.cli.", "uda.data.")) else ON_DISK
    forbidden += () if module == ORACLES_ASKER else (ORACLE,)
    return read + [name for name in imports(text) if name.startswith(forbidden)]


@pytest.mark.parametrize("module", FILES)
def test_only_the_evaluation_reads_target_labels(module):
    assert reads_labels(module, FILES[module].read_text()) == []


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("uda.stages.target", "y = [item.class_name for item in items]"),
        ("uda.training.adapt", "from uda.data.pixels import labels_of"),
        ("uda.reports.figures.unknown_part", "run.predictions()['is_private']"),
        ("uda.reports.sections", "run.predictions()['true_label']"),
        ("uda.reports.sections", "roles.is_private"),
        ("uda.reports.sections", "true_label = 1"),
        ("uda.evaluation_of_mine", "y = answers.true_label"),
        ("uda.stages.target", "from uda.data import check"),
        ("uda.training.adapt", "from uda.evaluation.oracle import oracle_neighbours"),
        ("uda.stages.build", "from uda.evaluation import oracle"),
    ],
)
def test_readers_of_target_labels_are_detected(module, line):
    assert reads_labels(module, line)


# ---- names of the files in a run's folder: spelled by uda.runs.folder

OWNER = "uda.runs.folder"
IS_FILE = re.compile(r"[a-z_]+\.(yaml|jsonl|pt|json|npz|png|csv|md|txt|safetensors)")
RUN_FILES = {word for word in words_of(FILES[OWNER].read_text()) if IS_FILE.fullmatch(word)}
RUN_FILES |= {f"{name}.json" for name in CHOICES}
# Users' files of the same names.
OTHERS = {("uda.cli.models", "predictions.csv")}


def spelled(module: str, text: str) -> list[str]:
    """Return the names of a run's files in a module's ``text``; docstrings may name them."""
    tree = ast.parse(text)
    strings = {
        node.value.rsplit("/", 1)[-1]
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    paths = {
        node.right.value
        for node in ast.walk(tree)
        if isinstance(node, ast.BinOp)
        and isinstance(node.op, ast.Div)
        and isinstance(node.right, ast.Constant)
    }
    names = (strings & RUN_FILES) | (paths & {"done", "banks"})
    return sorted(name for name in names if (module, name) not in OTHERS)


SCRIPTS = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path
    for path in sorted((ROOT / "scripts").rglob("*.py"))
}


@pytest.mark.parametrize("module", [name for name in (*FILES, *SCRIPTS) if name != OWNER])
def test_only_the_folder_module_spells_names_of_run_files(module):
    assert spelled(module, {**FILES, **SCRIPTS}[module].read_text()) == []


@pytest.mark.parametrize(
    "line",
    [
        "run.folder / 'metrics.jsonl'",
        "f'{run.folder}/checkpoint.pt'",
        "(run.folder / 'done').exists()",
        "open(join(folder, 'predictions.npz'))",
    ],
)
def test_names_of_run_files_are_detected(line):
    assert spelled("uda.reports.report", line)


HELP = """
import contextlib, io, sys
import uda.cli.main, genmix_aug.cli.main
for words in {commands!r}:
    module, *command = words.split()
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
        sys.modules[module].main([*command, "--help"])
    if "torch" in sys.modules:
        sys.exit(f"{{words}} --help imports torch")
"""


def test_help_needs_no_torch():
    """Commands import what is heavy in their bodies; in one process, as its start takes longest."""
    names = ["", *COMMANDS, "data", *(f"data {name}" for name in DATA_COMMANDS)]
    commands = [f"uda.cli.main {name}" for name in names]
    commands += [f"genmix_aug.cli.main {name}" for name in ("", *GENMIX_COMMANDS)]
    code = HELP.format(commands=commands)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
