"""A bank account, event-sourced: the second worked example, and all of it."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from jobs.patterns.aggregate import Aggregate, Refused
from jobs.patterns.message import Id, Message

Cents = Annotated[int, Meta(ge=1, le=10**12)]


class _Command(Message, frozen=True):
    topic: ClassVar[str] = "account-commands"
    key: ClassVar[str] = "account_id"
    account_id: Id
    cents: Cents


class OpenAccount(_Command, frozen=True): ...  # noqa: D101


class DepositMoney(_Command, frozen=True): ...  # noqa: D101


class WithdrawMoney(_Command, frozen=True): ...  # noqa: D101


class _Event(_Command, frozen=True):
    topic: ClassVar[str] = "accounts"


class AccountOpened(_Event, frozen=True): ...  # noqa: D101


class MoneyDeposited(_Event, frozen=True): ...  # noqa: D101


class MoneyWithdrawn(_Event, frozen=True): ...  # noqa: D101


class Account(Struct, frozen=True):
    """`balance` in cents; None: not opened."""

    balance: int | None = None


def decide(account: Account, command: Message, _: int) -> list[Message] | Refused:
    """What a command leads to."""
    match command, account.balance:
        case OpenAccount(key, cents), None:
            return [AccountOpened(key, cents)]
        case OpenAccount(), _:
            return Refused("already_open", "the account is open already")
        case _, None:
            return Refused("not_open", "the account is not open; send OpenAccount first")
        case DepositMoney(key, cents), _:
            return [MoneyDeposited(key, cents)]
        case WithdrawMoney(_, cents), balance if cents > balance:
            return Refused("insufficient_funds", f"insufficient funds: {balance} cents are there, {cents} were asked for")
        case WithdrawMoney(key, cents), _:
            return [MoneyWithdrawn(key, cents)]
    return Refused("unknown_command", f"an account does not know {type(command).__name__}")


def evolve(account: Account, event: Message) -> Account:
    """What an event makes of it."""
    match event:
        case MoneyWithdrawn(_, cents):
            return Account((account.balance or 0) - cents)
        case AccountOpened(_, cents) | MoneyDeposited(_, cents):
            return Account((account.balance or 0) + cents)
    return account


ACCOUNT = Aggregate(
    "account", Account, (OpenAccount, DepositMoney, WithdrawMoney), (AccountOpened, MoneyDeposited, MoneyWithdrawn), decide, evolve
)
