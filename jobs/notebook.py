"""Run a notebook from its first cell on the tables as they are, and keep what came out, for Jupyter and for a browser."""

from __future__ import annotations

import os
from html import escape
from pathlib import Path
from typing import Any

import nbformat
from markdown_it import MarkdownIt
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError

from infra.config import Settings
from infra.errors import StreamhouseError

DEFAULT = Path("notebooks") / "predictions.ipynb"
_CELL_SECONDS = 300
_STYLE = (
    "body{max-width:60em;margin:2em auto;padding:0 1em;font-family:sans-serif;line-height:1.4}"
    "pre{overflow-x:auto}pre.source{background:#f4f4f4;padding:.7em}img{max-width:100%}"
    "table{border-collapse:collapse}td,th{padding:.2em .7em;border-bottom:1px solid #ddd;text-align:right}"
)


def run(settings: Settings, file: Path) -> Path:
    """Execute a copy with this environment's kernel; answers the page, beside which the notebook lies with its outputs.

    Raises:
        StreamhouseError: no such notebook, or a cell failed.

    """
    if not file.is_file():
        message = f"notebook {str(file)!r} is not there; expected an .ipynb file, such as {DEFAULT}"
        raise StreamhouseError(message)
    folder = settings.state / "notebooks"
    folder.mkdir(parents=True, exist_ok=True)
    notebook: Any = nbformat.read(file, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=_CELL_SECONDS,
        startup_timeout=_CELL_SECONDS,
        kernel_name="python3",  # the one of the running Python
        extra_arguments=["--log-level=ERROR"],  # that its sockets on loopback are not encrypted is no news
        resources={"metadata": {"path": str(file.resolve().parent)}},
    )
    environment = {
        **os.environ,
        **settings.environment,
        "IPYTHONDIR": str(folder / "ipython"),  # no history in the user's own
    }
    try:
        client.execute(env=environment)
    except CellExecutionError as error:
        message = f"a cell of {file.name} ended with {error.ename}: {error.evalue}"
        raise StreamhouseError(message) from error
    except CellTimeoutError as error:
        message = f"a cell of {file.name} took longer than {_CELL_SECONDS} s; read fewer columns or rows, see lakehouse/read.py"
        raise StreamhouseError(message) from error
    nbformat.write(notebook, folder / file.name)
    written = folder / f"{file.stem}.html"
    written.write_text(page(notebook, file.stem), "utf-8")
    return written


def page(notebook: Any, title: str) -> str:  # noqa: ANN401 - nbformat ships no types
    """An executed notebook as one HTML file that loads nothing from elsewhere."""
    markdown = MarkdownIt("commonmark", {"html": False})
    parts = [f"<!doctype html><meta charset='utf-8'><title>{escape(title)}</title><style>{_STYLE}</style>"]
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(markdown.render(cell.source))
        elif cell.cell_type == "code":
            parts.append(f"<pre class='source'>{escape(cell.source)}</pre>")
            parts += [_shown(output) for output in cell.outputs]
    return "\n".join(parts) + "\n"


def _shown(output: Any) -> str:  # noqa: ANN401 - nbformat ships no types
    data = output.get("data", {})
    if "text/html" in data:
        return str(data["text/html"])
    if "image/png" in data:
        return f"<img alt='plot' src='data:image/png;base64,{data['image/png'].strip()}'>"
    return f"<pre>{escape(output.get('text') or data.get('text/plain', ''))}</pre>"
