"""The command: explain one prediction, print, and answer an exit status."""

from __future__ import annotations

import sys
import traceback

from infra.config import Settings
from infra.errors import StreamhouseError
from jobs.speaking import is_read
from jobs.why.explain import Explainer
from jobs.why.tell import as_dict, show

EQUAL, DIFFERS, COULD_NOT = 0, 1, 2


def main(settings: Settings, name: str, *, as_json: bool) -> int:
    """Print the explanation to standard output, what went wrong to standard error."""
    try:
        explanation = Explainer(settings).explain(name)
    except (StreamhouseError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return COULD_NOT
    except Exception:  # a mistake of the explanation is no difference
        traceback.print_exc()
        return COULD_NOT
    if not is_read((lambda: as_dict(explanation)) if as_json else None, lambda console: show(explanation, console)):
        return COULD_NOT
    return EQUAL if explanation.again.is_equal else DIFFERS
