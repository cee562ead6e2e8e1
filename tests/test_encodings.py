"""Every text file of the project is UTF-8, whatever the locale."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = [path for name in ("uda", "genmix_aug", "scripts") for path in (ROOT / name).rglob("*.py")]
OF_BYTES = ("Image.open", "os.open", "tarfile.open", "zipfile.open")
BYTES = {repr(mode) for mode in ("rb", "wb", "ab", "xb", "r+b", "w+b", "ab+", "rb+", "wb+")}


def without_encoding(text: str) -> list[str]:
    """Return the calls in a file's ``text`` that read or write text in the locale's encoding."""
    calls = []
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call):
            continue
        keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        name = ast.unparse(node.func)
        if name.rpartition(".")[2] in ("open", "fdopen"):
            modes = {keywords.get("mode", ""), *map(ast.unparse, node.args)}
            is_text = name not in OF_BYTES and not modes & BYTES
        elif name.startswith("subprocess."):
            is_text = "text" in keywords
        else:
            is_text = name.endswith((".read_text", ".write_text"))
        if is_text and "encoding" not in keywords:
            calls.append(ast.unparse(node))
    return calls


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_text_is_read_and_written_as_utf_8(path):
    assert without_encoding(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "line",
    [
        "open(path)",
        "open(path, 'w', newline='')",
        "path.open()",
        "os.fdopen(handle, 'w')",
        "(folder / 'a').read_text(errors='replace')",
        "path.write_text(text)",
        "subprocess.run(command, text=True)",
    ],
)
def test_a_missing_encoding_is_detected(line):
    assert without_encoding(line)
