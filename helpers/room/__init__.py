"""The class board: an instructor sees where a class is, by a stream and a consumer group.

It is built with what the course teaches, and counts each check exactly once:

    events.py     what a seat says of a check: five values, read with distrust
    names.py      the names of seats, codes and keys; secrets are compared and kept as digests
    classes.py    the class: its server, which keeps what it confirmed, and what the class is called
    keeping.py    the stream: events are added once, by seat and number, whatever is sent again
    commits.py    requests that wait share a round trip, and so the disk's time
    counting.py   the consumer: counts and XACK in one step
    board.py      what the counts say: `board.json`
    view.py       who is stuck, what to say to all, and the pace, from what the counts say
    telling.py    what a page asks for and gets
    export.py     what is kept of a class: CSV and JSON
    page/         the pages: for the instructor, and for the room
    limits.py     how much one seat or one address may ask
    service.py    HTTP: for seats, and for the instructor

And on a learner's machine:

    joining.py    a seat is joined and left, by command only
    seat.py       the seat, with its secret, in the hidden folder
    noting.py     a check is noted, whatever goes wrong
    spool.py      the file of what was noted, which all kernels share
    sending.py    what waits is sent in the background, by one kernel at a time
    post.py       one request to the board, bounded in time and size

From a check to the board: a seat sends its events (POST /events). The board adds them to the
stream, and answers when they are on its disk. A consumer of the group counts them, in the step in
which it acknowledges them. The page is told, at most twice a second.
"""
