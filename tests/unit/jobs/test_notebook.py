"""The committed notebook is clean, and the page of a run shows what came out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest

from infra.config import ROOT, load_settings
from infra.errors import StreamhouseError
from jobs.notebook import DEFAULT, page, run


def test_the_notebook_is_valid_and_committed_without_outputs() -> None:
    notebook: Any = nbformat.read(ROOT / DEFAULT, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert cells
    assert all(not cell.outputs and cell.execution_count is None for cell in cells)
    assert notebook.metadata.kernelspec.name == "streamhouse"


def test_a_page_shows_text_code_tables_plots_and_prints() -> None:
    v4: Any = nbformat.v4
    outputs = [
        v4.new_output("stream", name="stdout", text="1 < 2"),
        v4.new_output("display_data", data={"image/png": "cGxvdA==\n", "text/plain": "<Figure>"}),
        v4.new_output("execute_result", data={"text/html": "<table></table>", "text/plain": "n"}, execution_count=1),
        v4.new_output("execute_result", data={"text/plain": "<b>"}, execution_count=1),
    ]
    notebook = v4.new_notebook(cells=[v4.new_markdown_cell("# Head\n<script>"), v4.new_code_cell("a < b", outputs=outputs)])
    shown = page(notebook, "a & b")
    for part in ("<h1>Head</h1>", "a &lt; b</pre>", "1 &lt; 2", "base64,cGxvdA=='", "<table></table>", "&lt;b&gt;", "a &amp; b"):
        assert part in shown
    assert "&lt;Figure" not in shown
    assert "<script>" not in shown
    assert "://" not in shown


def test_a_notebook_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StreamhouseError, match=r"none\.ipynb.*expected an \.ipynb file"):
        run(load_settings({"STREAMHOUSE_STATE": str(tmp_path)}), tmp_path / "none.ipynb")
