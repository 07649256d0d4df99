"""A stream in parts, over the nodes of a Redis Cluster: keys keep their order, parts an owner.

parts.py      which part an entry goes to, and what its keys are called
producer.py   PartsProducer: appends to all nodes at once, each entry once
worker.py     PartsWorker: shares the parts with others of its group, by leases
part.py       one part in a worker's hands: read, handle, move its position
scripts.py    what runs on the server
"""

from helpers.cluster.parts import Parts, part_of
from helpers.cluster.producer import PartsProducer
from helpers.cluster.worker import PartsWorker

__all__ = ["Parts", "PartsProducer", "PartsWorker", "part_of"]
