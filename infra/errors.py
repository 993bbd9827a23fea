"""What goes wrong on purpose: one root error, so that the command line prints a sentence and not a stack."""


class StreamhouseError(Exception):
    """A fault that a person can mend. Its message names the thing, what was expected, what came and what to do."""


class SettingsError(StreamhouseError):
    """A setting that cannot be used."""

    def __init__(self, name: str, expected: str, got: object) -> None:
        super().__init__(f"setting `{name}`: expected {expected}, got {got!r}; set {environment_name(name)} or edit infra/settings.toml")


def environment_name(setting: str) -> str:
    """The environment variable of a setting: `kafka.port` -> `STREAMHOUSE_KAFKA_PORT`."""
    return "STREAMHOUSE_" + setting.replace(".", "_").upper()
