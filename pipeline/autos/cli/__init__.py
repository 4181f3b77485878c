"""The command `autos`."""
