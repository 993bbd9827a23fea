"""What goes wrong with tables on purpose."""

from infra.errors import StreamhouseError


class LakehouseError(StreamhouseError):
    """A table, a column, a query or a migration that cannot be as asked."""
