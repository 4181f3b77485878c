"""The command line `autos`."""


def main() -> None:
    """Run the command, whose modules take a moment to import, until it ends or Ctrl-C ends it."""
    from autos.errors import stoppable

    with stoppable("nothing is written"):
        from autos.cli.app import main

        main()
