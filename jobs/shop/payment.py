"""A user's wallet: charged for each order once at most, and given back once at most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from immutables import Map
from msgspec import Struct

from jobs.patterns.aggregate import Aggregate, Refused
from jobs.patterns.message import Message
from jobs.shop.messages import (
    CancelPayment,
    ChargePayment,
    CreditWallet,
    PaymentFailed,
    PaymentProcessed,
    PaymentRefunded,
    WalletCredited,
)


class Charge(Struct, frozen=True):
    """What became of an order's payment."""

    status: Literal["charged", "failed", "refunded"]
    cents: int = 0


class Wallet(Struct, frozen=True):
    """`balance` in cents, never below 0; each order that was ever to be paid, by its id."""

    balance: int = 0
    charges: Map[str, Charge] = Map()


def decide(wallet: Wallet, command: Message, now_ms: int) -> Sequence[Message] | Refused:
    """What a command to a wallet leads to."""
    match command:
        case CreditWallet(user_id, cents):
            return [WalletCredited(user_id, cents)]
        case ChargePayment(_, order_id, _, _) | CancelPayment(_, order_id, _) if order_id in wallet.charges:
            charge = wallet.charges[order_id]
            if isinstance(command, CancelPayment) and charge.status == "charged":
                return [PaymentRefunded(command.user_id, order_id, charge.cents, command.reason)]
            return []  # decided before
        case ChargePayment(user_id, order_id, cents, deadline):
            if now_ms > deadline:
                return [PaymentFailed(user_id, order_id, "payment missed its deadline")]
            if cents > wallet.balance:
                return [PaymentFailed(user_id, order_id, "insufficient funds")]
            return [PaymentProcessed(user_id, order_id, cents)]
        case CancelPayment(user_id, order_id, reason):
            return [PaymentFailed(user_id, order_id, reason)]  # a charge that comes after this is not made
    return []


def evolve(wallet: Wallet, event: Message) -> Wallet:
    """What an event makes of a wallet."""
    match event:
        case WalletCredited(_, cents):
            return Wallet(wallet.balance + cents, wallet.charges)
        case PaymentProcessed(_, order_id, cents):
            return Wallet(wallet.balance - cents, wallet.charges.set(order_id, Charge("charged", cents)))
        case PaymentFailed(_, order_id, _):
            return Wallet(wallet.balance, wallet.charges.set(order_id, Charge("failed")))
        case PaymentRefunded(_, order_id, cents, _):
            return Wallet(wallet.balance + cents, wallet.charges.set(order_id, Charge("refunded", cents)))
    return wallet


WALLET = Aggregate(
    "payment",
    Wallet,
    (CreditWallet, ChargePayment, CancelPayment),
    (WalletCredited, PaymentProcessed, PaymentFailed, PaymentRefunded),
    decide,
    evolve,
)
