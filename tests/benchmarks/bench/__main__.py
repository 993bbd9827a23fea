"""`python -m tests.benchmarks.bench`, which is `./streamhouse bench`. The processes that it begins do not import the module of this name,
so they take none of the seconds and of the CPU that the bench's own imports take.
"""

import typer

from tests.benchmarks.bench.command import main

if __name__ == "__main__":
    app = typer.Typer(add_completion=False)
    app.command()(main)
    app(prog_name="./streamhouse bench")
