"""Widths of layers in networks that are made wider or narrower."""


def scaled(size: int, width: float) -> int:
    """Return the number of channels or units of a layer that has `size` of them at width 1."""
    return max(1, round(size * width))
