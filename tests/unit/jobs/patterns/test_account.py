"""The bank account: what the pattern promises, by its smallest example."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from jobs.bank.account import ACCOUNT, Account, DepositMoney, OpenAccount, WithdrawMoney
from jobs.patterns.aggregate import REMEMBERED, Held, begun, decided, folded
from jobs.patterns.message import Envelope, Message, derived_id

NOW = 1_700_000_000_000


def command(data: Message, name: str, expected: int | None = None) -> Envelope:
    return Envelope(derived_id("test", name), NOW, "test", "c", data, expected_version=expected)


def opened() -> Held:
    held = begun(ACCOUNT)
    for i, data in enumerate((OpenAccount("a", 100), DepositMoney("a", 100), WithdrawMoney("a", 50))):
        held = decided(ACCOUNT, held, command(data, str(i)), NOW).held
    return held


def test_opened_deposited_withdrawn_gives_150() -> None:
    assert opened().state == Account(150)
    assert opened().version == 3


def test_a_withdrawal_past_the_balance_is_refused_and_changes_nothing() -> None:
    decision = decided(ACCOUNT, opened(), command(WithdrawMoney("a", 151), "too much"), NOW)
    assert decision.refused is not None
    assert decision.refused.reason == "insufficient_funds"
    assert "insufficient funds" in decision.refused.message
    assert (decision.events, decision.held) == ((), opened())
    assert decided(ACCOUNT, opened(), command(WithdrawMoney("a", 150), "all"), NOW).held.state == Account(0)


def test_a_command_that_comes_twice_is_accepted_once_with_the_same_answer() -> None:
    first = decided(ACCOUNT, opened(), command(DepositMoney("a", 7), "gift"), NOW)
    later = decided(ACCOUNT, first.held, command(DepositMoney("a", 1), "other"), NOW)
    again = decided(ACCOUNT, later.held, command(DepositMoney("a", 7), "gift"), NOW)
    assert (again.repeated, again.events, again.version) == (True, (), first.version)


def test_of_two_that_expect_the_same_version_one_wins() -> None:
    first = decided(ACCOUNT, opened(), command(DepositMoney("a", 1), "one", expected=3), NOW)
    second = decided(ACCOUNT, first.held, command(DepositMoney("a", 1), "two", expected=3), NOW)
    assert first.refused is None
    assert second.refused is not None
    assert second.refused.reason == "conflict"
    assert "expected version 3, it has 4" in second.refused.message


COMMANDS = st.lists(
    st.tuples(
        st.sampled_from((OpenAccount, DepositMoney, WithdrawMoney)),
        st.integers(1, 300),
        st.integers(0, 30),  # few ids, so that some come twice
        st.one_of(st.none(), st.integers(0, 8)),
    ),
    max_size=40,
)


@given(COMMANDS)
def test_folded_events_are_the_live_state_and_no_balance_is_below_zero(
    drawn: list[tuple[type[OpenAccount | DepositMoney | WithdrawMoney], int, int, int | None]],
) -> None:
    held, events = begun(ACCOUNT), list[Envelope]()
    for kind, cents, name, expected in drawn:
        decision = decided(ACCOUNT, held, command(kind("a", cents), str(name), expected), NOW)
        if not decision.repeated:
            held = decision.held
        events += decision.events
        assert (held.state.balance or 0) >= 0
    assert folded(ACCOUNT, events) == held
    for cut in range(len(events)):
        assert folded(ACCOUNT, events[cut:], folded(ACCOUNT, events[:cut])) == held
    assert [event.aggregate_version for event in events] == list(range(1, len(events) + 1))
    assert len({event.id for event in events}) == len(events)


def test_only_the_latest_commands_are_remembered() -> None:
    held = decided(ACCOUNT, begun(ACCOUNT), command(OpenAccount("a", 1), "open"), NOW).held
    for i in range(REMEMBERED):
        held = decided(ACCOUNT, held, command(DepositMoney("a", 1), f"deposit {i}"), NOW).held
    assert len(held.recent) == REMEMBERED
    assert decided(ACCOUNT, held, command(DepositMoney("a", 1), "deposit 0"), NOW).repeated
    assert not decided(ACCOUNT, held, command(OpenAccount("a", 1), "open"), NOW).repeated
