"""The measurements of lesson 08: `course bench` runs them all, the lesson some of them.

`rounds` takes each figure beside its baseline in the same rounds, `ladder` holds the ways to
append, `limit` the server's own rate, and `report` runs the parts and says what came out.
"""

# The parts of `course bench`. Here, because to import `report` takes what all of them need.
PARTS = ("setget", "append", "fill", "aggregate", "read", "group", "latency", "memory")
