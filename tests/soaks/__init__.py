"""Soaks: faults strike real consumers at work, until all have struck and all work is done.

    stage       what the soaks share: the table of faults, the play, the report, the process
    groups      a consumer group on a day of readings
    averages    daily partitions, and the mean of each hour: what must come of it
    havoc       the same: which faults there are, and what each does
    workers     the same: what its processes do
    server      the faults of a server that all of them share
    wiki        the event pipeline
    lives       20,000 short lives, of which nothing may be left
    ways        the same: forks and copies of one that is at work, multiprocessing, generators
    cluster     streams on a cluster of three with replicas: with WAIT, and what is lost without
    parts       the same: what its processes do

python -m tests.soaks [groups averages wiki lives cluster tail] [--seed N …]
"""
