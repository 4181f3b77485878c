"""What masks and trainings look like from inside: pure functions, and the plots of their results.

Every analysis is one module and one command of `autos analyse`.
"""
