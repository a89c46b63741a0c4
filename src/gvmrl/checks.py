"""Checks of settings, with messages that name them."""


def require(holds: bool, message: str) -> None:
    """Raise ValueError with the message unless the condition holds (NaN fails comparisons)."""
    if not holds:
        raise ValueError(message)


def require_at_least(bound: float, **settings: float | None) -> None:
    """Raise ValueError for the first setting that is set, and below the bound or NaN."""
    for name, value in settings.items():
        if value is not None and not value >= bound:
            raise ValueError(f"{name.replace('__', '.')} must be >= {bound:g}, got {value}")
