"""The measurements of lessons 08 and 09: `course bench` runs them all, lesson 08 some of them.

`rounds` takes each figure beside its baseline in the same rounds, `ladder` holds the ways to
append, `limit` the server's own rate, and `report` runs the parts and says what came out.
"""

# The parts of `course bench`. Here, because to import `report` takes what all of them need.
ONE_SERVER = ("setget", "append", "fill", "aggregate", "read", "group", "latency", "memory")
ON_A_CLUSTER = ("parts", "failover", "handover")  # which takes a minute to itself
PARTS = ONE_SERVER + ON_A_CLUSTER
