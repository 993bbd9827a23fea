"""What the view `user_activity` means: kinds of actions, windows, names. The fold, Feast and the models read it from here."""

from __future__ import annotations

from dataclasses import dataclass

SECOND = 1000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

ALLOWED_LATENESS = HOUR
"""How far behind a user's latest action an action may lie and still be counted as of its own time, in milliseconds."""

OTHER, PRODUCT_VIEW, CART_ADD, ERROR, PURCHASE = range(5)
KINDS = 5
KIND_OF_ACTION = {
    "product_view": PRODUCT_VIEW,
    "add_to_cart": CART_ADD,
    "error_page": ERROR,
    "payment_error": ERROR,
    "checkout_bug": ERROR,
    "purchase": PURCHASE,
}


@dataclass(frozen=True)
class Window:
    """The last `length` ms, aligned to buckets of `grain` ms.

    At time t it holds the actions with `t // grain - length // grain < time // grain <= t // grain`: the bucket that t lies
    in and the `length / grain - 1` before it. So it reaches back between `length - grain` and `length`.
    """

    name: str
    length: int
    grain: int

    @property
    def buckets(self) -> int:
        """How many buckets it spans."""
        return self.length // self.grain


WINDOWS = (
    Window("10m", 10 * MINUTE, MINUTE),
    Window("1h", HOUR, 5 * MINUTE),
    Window("24h", DAY, HOUR),
    Window("7d", 7 * DAY, HOUR),
)

# counted thing -> the kinds that it sums
COUNTED: dict[str, tuple[int, ...]] = {
    "actions": tuple(range(KINDS)),
    "product_views": (PRODUCT_VIEW,),
    "cart_adds": (CART_ADD,),
    "errors": (ERROR,),
    "purchases": (PURCHASE,),
}
VISIT_WINDOWS = ("24h", "7d")

COUNTS = tuple(f"{what}_{window.name}" for window in WINDOWS for what in COUNTED) + tuple(f"visits_{w}" for w in VISIT_WINDOWS)
SECONDS = ("seconds_since_action", "seconds_since_purchase")
FEATURES = COUNTS + SECONDS
