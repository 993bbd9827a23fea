"""The header of a replay is a claim that any producer can make: what cannot be is no replay, and nothing is raised."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.contracts.replays import Replay, decode_replay, encode_replay

PARTITIONS = 4
ABSURD = {
    "empty": b"",
    "no json": b"{",
    "no utf-8": b"\xff",
    "no object": b"[1,7,1]",
    "null": b"null",
    "without a count": b'{"partition":1,"offset":7}',
    "no replay at all": b'{"partition":1,"offset":7,"retryCount":0}',
    "negative offset": b'{"partition":1,"offset":-1,"retryCount":1}',
    "negative partition": b'{"partition":-1,"offset":7,"retryCount":1}',
    "past 64 bits": b'{"partition":1,"offset":9223372036854775808,"retryCount":1}',
    "past 32 bits": b'{"partition":1,"offset":7,"retryCount":2147483648}',
    "thousands of digits": b'{"partition":1,"offset":' + b"9" * 5000 + b',"retryCount":1}',
    "texts": b'{"partition":"1","offset":"7","retryCount":"1"}',
    "truth": b'{"partition":true,"offset":7,"retryCount":1}',
    "half": b'{"partition":1,"offset":7.5,"retryCount":1}',
    "deep": b"[" * 250,
    "a megabyte": b'{"partition":1,"offset":7,"retryCount":1' + b" " * 1_000_000 + b"}",
    "a partition that the topic does not have": encode_replay(Replay(PARTITIONS, 7, 1)),
    "itself": encode_replay(Replay(1, 90, 1)),
    "a later one": encode_replay(Replay(1, 91, 1)),
}


@pytest.mark.parametrize("header", ABSURD.values(), ids=ABSURD)
def test_what_cannot_be_is_no_replay(header: bytes) -> None:
    assert decode_replay(header, 1, 90, PARTITIONS) is None


@given(st.binary(max_size=300))
def test_no_bytes_stop_the_stream(header: bytes) -> None:
    assert decode_replay(header, 1, 90, PARTITIONS) is None


@pytest.mark.parametrize("replay", [Replay(1, 89, 1), Replay(0, 2**63 - 1, 2**31 - 1), Replay(3, 90, 2)])
def test_a_replay_names_the_original(replay: Replay) -> None:
    assert decode_replay(encode_replay(replay), 1, 90, PARTITIONS) == replay


def test_a_record_without_the_header_is_none() -> None:
    assert decode_replay(None, 1, 90, PARTITIONS) is None
