"""Hooks of mkdocs for the site (`scripts/docs.sh`): the pages that are no files of docs/.

Markdown stays as a code host shows it. Some files from outside docs/ become pages, the README the
first one; links to other files outside become the files' paths; the reference is made of the
packages' public names, whose docstrings mkdocstrings reads without importing anything.
"""

from __future__ import annotations

import ast
import logging
import posixpath
import re
from collections.abc import Iterable
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
LOG = logging.getLogger("mkdocs.hooks.site")
# Files outside docs/ and the pages that they become.
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changes.md",
    "CONTRIBUTING.md": "contributing.md",
    "data/README.md": "datasets.md",
}
# Made by scripts/docs.sh: the report that the gallery shows.
REPORT = ROOT / "build" / "site" / "sweeps" / "adabn" / "report.html"
PACKAGES = {
    "genmix_aug": "GenMix for any PyTorch code: `from genmix_aug import GenMixTransform`.",
    "uda": "Finished runs in your own code: `import uda`. The command `uda` trains.",
}
# What docs/extending.md derives from and calls, and what `uda.load` returns.
EXTENDING = {
    "Methods": [
        "uda.methods.base.Method",
        "uda.methods.base.Bank",
        "uda.methods.base.Batch",
        "uda.methods.unknown.Prediction",
        "uda.methods.base.Once",
        "uda.methods.base.run_locally",
        "uda.methods.unknown.normalised_entropy",
        "uda.methods.joint.JointMethod",
        "uda.methods.losses.soft_cross_entropy",
    ],
    "Augmentations": ["uda.augment.base.Augmentation", "uda.augment.each_image.EachImage"],
    "Editors": [
        "genmix_aug.editors.base.Editor",
        "genmix_aug.editors.base.ListEditor",
        "genmix_aug.editors.base.SingleImageEditor",
        "genmix_aug.editors.diffusion.editor.DiffusionEditor",
        "genmix_aug.seeding.hash_seed",
    ],
    "Figures": [
        "uda.reports.figures.base.FigureKind",
        "uda.reports.figures.base.Drawing",
        "uda.reports.chapter.Chapter",
        "uda.reports.results.Pair",
        "uda.reports.figures.drawing.make_axes",
        "uda.reports.figures.drawing.row_colours",
    ],
    "Models": ["uda.inference.model.TrainedModel", "uda.inference.model.ImagePrediction"],
}
# Code, in which nothing is a link, or a link (of an image, with a mark) to a file.
CODE_OR_LINK = re.compile(
    r"^ *```.*?^ *```|`[^`\n]+`|(?P<mark>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s:]+)\)",
    re.MULTILINE | re.DOTALL,
)
# What Markdown of a code host leaves behind where Python-Markdown reads it otherwise.
UNRENDERED = re.compile(r"<p>[^<]*(```|^\s*([-*]|\d+\.) )|\| -{3}", re.MULTILINE)
# What a browser would load from elsewhere; it only notes a page's canonical address.
LOADED = re.compile(
    r'<(?:script|link(?! rel="canonical")|img|iframe)\b[^>]*(?:src|href)="(?:https?:)?//[^"]*"'
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are no files of docs/, and the report."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    for page, text in reference_pages().items():
        files.append(File.generated(config, page, content=text))
    if REPORT.is_file():
        files.append(File.generated(config, "example_report.html", abs_src_path=str(REPORT)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return a page's Markdown with the links of the site."""
    sources = {page: source for source, page in PAGES.items()}
    return with_site_links(markdown, sources.get(page.file.src_uri, f"docs/{page.file.src_uri}"))


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> None:
    """Warn, which is an error with --strict, of Markdown that was not understood."""
    if found := unrendered(html):
        LOG.warning(
            f"{page.file.src_uri}: shown as it is written: {found!r}. A list needs an empty line "
            "before it, and what stands in a list an indentation of four."
        )


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> None:
    """Warn, which is an error with --strict, of what a page loads from elsewhere."""
    for tag in LOADED.findall(output):
        LOG.warning(f"{page.file.src_uri}: loads something from elsewhere: {tag}")


def with_site_links(markdown: str, source: str) -> str:
    """Return the Markdown of a file of the repository with its links as in the site.

    Links to pages lead to the pages; those to other files outside docs/ become the file's path.
    Links to what is not there stay, for mkdocs to find.
    """

    def replaced(match: re.Match[str]) -> str:
        target = match["target"]
        if not target or target.startswith("#"):
            return match[0]
        path, mark, anchor = target.partition("#")
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        if page := page_of(path):
            start = posixpath.dirname(page_of(source)) or "."
            link = posixpath.relpath(page, start)
            return f"{match['mark']}[{match['text']}]({link}{mark}{anchor})"
        return as_path(match["text"], path) if (ROOT / path).exists() else match[0]

    return CODE_OR_LINK.sub(replaced, markdown)


def page_of(path: str) -> str:
    """Return the file of the site that one of the repository becomes; empty if it has none."""
    if path in PAGES:
        return PAGES[path]
    is_document = re.match("docs/(?!results(/|$))", path)  # packed runs are no part of the site
    return path.removeprefix("docs/") if is_document else ""


def as_path(text: str, path: str) -> str:
    """Return a link's text with the path of the file that it leads to, once."""
    return f"`{path}`" if path.endswith(text.strip("`/")) else f"{text} (`{path}`)"


def unrendered(html: str) -> str:
    """Return the first piece of a page outside code that still is Markdown; empty without any."""
    without_code = re.sub(r"<(pre|code)\b.*?</\1>", "", html, flags=re.DOTALL)
    match = UNRENDERED.search(without_code)
    return match[0] if match else ""


def reference_pages() -> dict[str, str]:
    """Return the reference's pages, in mkdocstrings' Markdown, by their paths."""
    pages = {
        f"reference/{package}.md": f"# {package}\n\n{about}\n\n"
        + entries(f"{package}.{name}" for name in public_names(package))
        for package, about in PACKAGES.items()
    }
    parts = (f"## {title}\n\n{entries(names, level=3)}" for title, names in EXTENDING.items())
    pages["reference/extending.md"] = (
        "# Base classes\n\nWhat [extensions](../extending.md) derive from and call.\n\n"
        + "\n".join(parts)
    )
    return pages


def entries(names: Iterable[str], level: int = 2) -> str:
    """Return mkdocstrings' entries of objects."""
    return "\n".join(f"::: {name}\n    options:\n      heading_level: {level}\n" for name in names)


def public_names(package: str) -> list[str]:
    """Return what a package offers, in the order of its stub file or, without one, its code.

    These are its functions, and what it imports by `from … import name as name`.
    """
    stub = ROOT / package / "__init__.pyi"
    code = stub if stub.is_file() else stub.with_suffix(".py")
    names = []
    for node in ast.parse(code.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            names += [alias.name for alias in node.names if alias.asname == alias.name]
        elif isinstance(node, ast.FunctionDef):
            names.append(node.name)
    return names
