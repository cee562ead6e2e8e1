"""Who may import whom, as docs/design.md draws it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted([*(ROOT / "uda").rglob("*.py"), *(ROOT / "genmix_aug").rglob("*.py")])

LAYERS = [
    {
        "config",
        "dataset_spec",
        "splits",
        "metrics",
        "decomposition",
        "clusters",
        "neighbours",
        "optim",
        "locks",
        "runs",
        "sweep_plan",
        "names",
        "console",
        "options",
    },
    {
        "compute",
        "processes",
        "image_cache",
        "readers",
        "datasets",
        "list_files",
        "picture_hash",
        "data_check",
        "own_folders",
        "emoji_home",
        "emoji_packages",
        "model",
        "preact_resnet",
        "robustness",
        "lead_checkpoints",
        "augment",
        "methods",
        "selection",
    },
    {"train", "adapt", "evaluate"},
    {
        "published",
        "results",
        "differences",
        "table_cells",
        "tables",
        "table_text",
        "predictions",
        "figures",
        "page",
        "event_files",
        "report",
        "identity",
        "selection_report",
        "choices",
        "in_domain",
        "experiment_data",
        "prepared_edits",
        "in_domain_tables",
        "packing",
        "stages",
        "answers",
        "predict",
        "explain",
        "export",
        "own_run",
        "run_costs",
        "workers",
        "sweep",
        "commands",
        "data_commands",
        "cli",
    },
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}


def imports(path):
    """Dotted modules that ``path`` imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module


def part(path):
    """``uda/methods/lead.py`` -> ``methods``; ``uda/train.py`` -> ``train``."""
    return path.relative_to(ROOT / "uda").parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_follow_the_layers(path):
    modules = list(imports(path))
    own = path.relative_to(ROOT).parts[0]
    for module in modules:
        top, *rest = module.split(".")
        if top == "diffusers":
            assert path.name == "pipeline_loading.py"
        if own == "genmix_aug":
            assert top != "uda", "genmix_aug knows nothing of uda"
        elif top == "genmix_aug":
            # Pictures are read one way, as edits are found by their pixels, and shown one way; and
            # there is one way to tell a lack of memory.
            shared = {"images", "contact_sheet", "editors.memory"}
            allowed = part(path) == "augment" or module.removeprefix("genmix_aug.") in shared
            assert allowed, "only augment imports genmix_aug"
        elif top == "uda" and rest and part(path) != "__init__":
            mine, theirs = part(path), rest[0]
            assert theirs in RANK, f"{theirs} has no layer: give it one here"
            allowed = RANK[theirs] < RANK[mine] or theirs == mine
            same_layer = RANK[theirs] == RANK[mine] and RANK[mine] != 2 and mine != "methods"
            assert allowed or same_layer, f"{mine} must not import {theirs}"


def test_every_module_has_a_layer():
    modules = {part(path) for path in FILES if path.is_relative_to(ROOT / "uda")}
    assert modules - {"__init__"} == set(RANK)


@pytest.mark.slow
def test_only_evaluate_reads_target_labels():
    """Class names of pictures are read where views are made, chosen or scored, nowhere else."""

    def uses(path, name):
        return any(
            isinstance(node, ast.Attribute | ast.Name)
            and name == (node.attr if isinstance(node, ast.Attribute) else node.id)
            for node in ast.walk(ast.parse(path.read_text()))
        )

    readers = {path.name for path in FILES if uses(path, "class_name")}
    # experiment_data: that no source class is empty; list_files: writes labels down where a user
    # asks for them, for other code, and data_check: counts classes on disk; no stage of ours
    # imports them.
    assert readers == {"datasets.py", "experiment_data.py", "list_files.py", "data_check.py"}
    for module in ("uda.list_files", "uda.data_check"):
        assert {path.name for path in FILES if module in imports(path)} == {"data_commands.py"}
    assert {path.name for path in FILES if uses(path, "labels_of")} == {
        "datasets.py",
        "evaluate.py",
    }


@pytest.mark.parametrize(
    ("module", "command"),
    [
        ("uda.cli", []),
        ("uda.cli", ["data", "export-lists"]),
        ("uda.cli", ["data", "check"]),
        ("uda.cli", ["import-lead"]),
        ("uda.cli", ["predict"]),
        ("uda.cli", ["export"]),
        ("uda.cli", ["train"]),
        ("uda.cli", ["sweep"]),
        ("uda.cli", ["run"]),
        ("uda.cli", ["evaluate"]),
        ("uda.cli", ["report"]),
        ("uda.cli", ["select"]),
        ("uda.cli", ["explain"]),
        ("uda.cli", ["pack"]),
        ("genmix_aug.cli", []),
    ],
)
def test_help_needs_no_torch(module, command):
    code = (
        f"import sys, {module} as c\n"
        f"try: c.main({[*command, '--help']!r})\n"
        "except SystemExit: pass\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True)
    assert done.returncode == 0
