"""Programs that measure. They are no tests: pytest does not collect them, and no test asserts a time."""
