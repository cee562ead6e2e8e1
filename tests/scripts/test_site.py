"""scripts/site_hooks.py: what the site of docs/ has besides the files of docs/."""

import ast
import importlib.util
import inspect
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

import genmix_aug
import uda

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def hooks():
    spec = importlib.util.spec_from_file_location("site_hooks", ROOT / "scripts/site_hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def documented(hooks):
    """Return the names that the reference's pages have entries of."""
    text = "".join(hooks.reference_pages().values())
    return set(re.findall(r"^::: (\S+)$", text, re.MULTILINE))


def imported_by_examples():
    """Return what the Python blocks of docs/extending.md import of the two packages."""
    text = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    nodes = [node for block in blocks for node in ast.walk(ast.parse(block))]
    imports = [node for node in nodes if isinstance(node, ast.ImportFrom)]
    return {
        f"{node.module}.{alias.name}"
        for node in imports
        for alias in node.names
        if node.module.startswith(("uda.", "genmix_aug."))
    }


def test_the_reference_has_every_public_name(hooks):
    functions = inspect.getmembers(uda, inspect.isfunction)
    own = {f"uda.{name}" for name, function in functions if function.__module__ == "uda"}
    public = {f"genmix_aug.{name}" for name in genmix_aug.__all__} | own
    assert len(public) > 20
    assert public - documented(hooks) == set()


def test_the_reference_has_what_the_examples_of_extensions_import(hooks):
    assert len(imported_by_examples()) > 10
    assert imported_by_examples() - documented(hooks) == set()


@pytest.mark.parametrize(
    ("source", "text", "shown"),
    [
        ("README.md", "[a](docs/genmix.md#editors)", "[a](genmix.md#editors)"),
        ("README.md", "![a](docs/figures/augmentations.png)", "![a](figures/augmentations.png)"),
        ("docs/genmix.md", "[two\nlines](../README.md#more)", "[two\nlines](index.md#more)"),
        ("data/README.md", "[a](../docs/genmix.md)", "[a](genmix.md)"),
        ("docs/reference/uda.md", "[a](../genmix.md)", "[a](../genmix.md)"),
    ],
)
def test_links_between_pages_lead_to_pages(hooks, source, text, shown):
    assert hooks.with_site_links(text, source) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("[`scripts/fuzz.py`](../scripts/fuzz.py)", "`scripts/fuzz.py`"),
        ("[the licence](../LICENSE)", "the licence (`LICENSE`)"),
        ("[results/](results)", "`docs/results`"),
        ("[runs](results/emoji_home.jsonl)", "runs (`docs/results/emoji_home.jsonl`)"),
    ],
)
def test_links_to_other_files_become_their_paths(hooks, text, shown):
    assert hooks.with_site_links(text, "docs/genmix.md") == shown


@pytest.mark.parametrize(
    "text",
    [
        "[a](../scripts/none.py)",  # for mkdocs to find
        "[a](#here), [b](https://arxiv.org/abs/2412.02366)",
        '```python\nself.heads["domain"](../README.md)\n```\n',
        "`[a](../README.md)`",
    ],
)
def test_other_links_and_code_stay(hooks, text):
    assert hooks.with_site_links(text, "docs/genmix.md") == text


def warnings_of(caplog):
    return [record.message for record in caplog.records if record.levelname == "WARNING"]


@pytest.mark.parametrize(
    ("html", "count"),
    [
        ("<p>text\n- a list</p>", 1),
        ("<li><p>text\n4. a list</p></li>", 1),
        ("<li>text\n| a | b |\n| --- | --- |</li>", 1),
        ("<p>```bash\nls</p>", 1),
        ("<pre><code>\n- a\n| --- |\n</code></pre><p><code>```</code>, a - b</p>", 0),
    ],
)
def test_markdown_that_is_shown_as_it_is_written_is_a_warning(hooks, caplog, html, count):
    page = SimpleNamespace(file=SimpleNamespace(src_uri="page.md"))
    hooks.on_page_content(html, page, None, None)
    assert len(warnings_of(caplog)) == count


@pytest.mark.parametrize(
    ("tag", "count"),
    [
        ('<script src="https://cdn.example/shim.js"></script>', 1),
        ('<link rel="canonical" href="https://docs.example/page.html">', 0),
        ('<link rel="stylesheet" href="//fonts.example/css">', 1),
        ('<script src="assets/iframe-worker.js"></script><a href="https://arxiv.org">a</a>', 0),
    ],
)
def test_what_a_page_loads_from_elsewhere_is_a_warning(hooks, caplog, tag, count):
    page = SimpleNamespace(file=SimpleNamespace(src_uri="page.md"))
    hooks.on_post_page(tag, page, None)
    assert len(warnings_of(caplog)) == count
