"""The names of a prediction, and what is said of a name that means none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.dead_letter import answer_id
from jobs.why.named import Place, Unexplained, read_name

ACTION = "7f9c2b1e-3d4a-4c5b-8e6f-0a1b2c3d4e5f"


@given(partition=st.integers(0, 3), offset=st.integers(0, 2**60 - 1))
def test_a_predictions_event_id_spells_its_actions_place(partition: int, offset: int) -> None:
    assert read_name(answer_id("user-actions", partition, offset)) == Place(partition, offset)
    assert read_name(answer_id("user-actions", partition, offset).upper()) == Place(partition, offset)
    assert read_name(str(Place(partition, offset))) == Place(partition, offset)


def test_another_uuid_is_an_actions_event_id_in_the_form_in_which_it_is_archived() -> None:
    assert read_name(ACTION) == ACTION
    assert read_name(ACTION.upper()) == ACTION
    assert read_name("{" + ACTION.replace("-", "") + "}") == ACTION


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nonsense", "expected a prediction's event id, PARTITION:OFFSET"),
        ("", "expected a prediction's event id"),
        ("4:7", "one of the 4 partitions of user-actions, 0 to 3, got 4"),
        ("-1:7", "expected a prediction's event id"),
        ("order-commands/1:7", "record order-commands/1:7, and predictions answer actions"),
        (answer_id("order-commands", 1, 7), "`./streamhouse dlq list --topic order-commands`"),
    ],
)
def test_what_names_no_prediction_is_told_with_what_would(text: str, said: str) -> None:
    with pytest.raises(Unexplained, match=said):
        read_name(text)
