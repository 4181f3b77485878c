"""The program `python -m stages`, which `stages._program` describes and which Ctrl-C ends."""

from autos.errors import stoppable

if __name__ == "__main__":
    with stoppable("finished work is kept"):
        from stages._program import run  # It takes a moment to import.

        run()
