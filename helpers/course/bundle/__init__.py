"""One archive with all that a room needs when its network is bad, or absent.

`make bundle` gathers it (`gather`), for every machine in `targets`; `make lab` takes it (`use`).
"""
