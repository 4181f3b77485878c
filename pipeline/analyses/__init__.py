"""What masks and trainings look like from inside: pure functions, and the plots of their results.

One file each; `autos analyse` reaches them all.
"""
