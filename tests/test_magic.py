"""In a notebook: `%redis` prints what redis-cli would, and errors are short."""

from __future__ import annotations

import ast
import inspect
import logging
import os
import signal
import textwrap
import threading

import nbclient
import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from helpers import EntryId, Producer
from helpers.course.magic import as_cli
from helpers.course.pace import patient
from helpers.course.show import show
from helpers.streams import entry, reader

once = pytest.mark.once


@pytest.fixture(scope="module")
def shell():
    """An IPython in which `%load_ext helpers` was run."""
    config = Config()
    config.HistoryManager.enabled = False
    shell = InteractiveShell.instance(config=config)
    log = logging.getLogger("helpers.streams")
    handlers = [*log.handlers]
    shell.run_line_magic("load_ext", "helpers")
    yield shell
    InteractiveShell.clear_instance()
    log.handlers[:] = handlers


@pytest.fixture
def run(redis, shell, capsys):
    """Run a cell and return what it printed."""

    def run(cell):
        shell.run_cell(cell, store_history=False)
        return capsys.readouterr().out.rstrip("\n")

    return run


# ------------------------------------------------------------------ replies


@once
@pytest.mark.parametrize(
    ("command", "reply", "lines"),
    [
        ("GET", None, ["(nil)"]),
        ("KEYS", [], ["(empty array)"]),
        ("XLEN", 3, ["(integer) 3"]),
        ("PING", b"PONG", ["PONG"]),
        ("TYPE", b"stream", ["stream"]),
        ("XADD", b"1-0", ['"1-0"']),
        ("GET", b'say "hi" \\ \n\t\x00\xff', ['"say \\"hi\\" \\\\ \\n\\t\\x00\\xff"']),
        ("MGET", [b"a", None, 2], ['1) "a"', "2) (nil)", "3) (integer) 2"]),
        (
            "XRANGE",
            [[b"1-0", [b"n", b"1"]], [b"2-0", []]],
            ['1) 1) "1-0"', '   2) 1) "n"', '      2) "1"', '2) 1) "2-0"', "   2) (empty array)"],
        ),
        ("KEYS", [b"k"] * 10, [f'{n:>2}) "k"' for n in range(1, 11)]),
    ],
)
def test_a_reply_looks_as_in_redis_cli(command, reply, lines):
    assert list(as_cli(command, reply)) == lines


def test_a_line_prints_its_reply(run):
    assert run("%redis XADD chennai 1-0 temperature 26") == '"1-0"'
    assert run("%redis XLEN chennai") == "(integer) 1"
    assert run("%redis TYPE chennai") == "stream"
    assert run("%redis XREAD COUNT 1 STREAMS chennai $") == "(nil)"
    assert run("%redis ECHO 'two words'") == '"two words"'


def test_a_cell_prints_each_command_with_its_reply(run):
    assert run("%%redis\n# a comment\nSET k 1\n\nINCR k") == (
        "redis> SET k 1\nOK\nredis> INCR k\n(integer) 2"
    )


def test_a_transaction_lasts_from_line_to_line(run):
    run("%redis MULTI")
    assert run("%redis INCR k") == "QUEUED"
    assert run("%redis INCR k") == "QUEUED"
    assert run("%redis EXEC") == "1) (integer) 1\n2) (integer) 2"


def test_an_error_of_the_server_is_printed_with_its_code(run):
    assert run("%redis NONSENSE").startswith("(error) ERR unknown command")
    run("%redis SET k 1")
    assert run("%redis XLEN k").startswith("(error) WRONGTYPE Operation against a key")
    assert run("%%redis\nXLEN k\nGET k").endswith('redis> GET k\n"1"')  # and the cell goes on


def test_python_variables_are_put_in(run):
    run("key, line, fn, reply = 'chennai', '7-0', 'temperature', 26")
    assert run("%redis XADD {key} {line} $fn {reply}") == '"7-0"'
    assert run("%%redis\nXRANGE {key} $line +").startswith(
        'redis> XRANGE chennai 7-0 +\n1) 1) "7-0"'
    )
    assert run("def f(inner):\n    %redis ECHO {inner}\nf('local')") == '"local"'
    assert run("%redis ECHO {missing}:$") == '"{missing}:$"'


@pytest.mark.parametrize(
    "line",
    ["FLUSHALL", "flushdb", "SHUTDOWN", "MONITOR", "SUBSCRIBE c", "psubscribe c",
     "HELLO 3", "RESET", "client reply OFF"],
)  # fmt: skip
def test_what_would_hurt_or_hang_is_refused(run, line):
    run("%redis SET k 1")
    assert run(f"%redis {line}").startswith("(refused) ")
    assert run("%redis GET k") == '"1"'


def test_what_is_no_command_is_told(run):
    assert run("%redis").startswith("Write a command after %redis")
    assert run("%redis ECHO 'open").startswith("(error) unbalanced quotes")


def test_a_connection_lost_while_it_waits_is_told_and_made_anew(run, redis):
    number = run("%redis CLIENT ID").removeprefix("(integer) ")
    killing = when_blocked(redis, lambda: redis.client_kill_filter(_id=number))
    assert run(WAIT).startswith("(error) the connection to the server was lost")
    killing.join()
    assert run("%redis PING") == "PONG"


def test_the_stop_button_ends_a_wait_and_leaves_no_reply_behind(run, redis):
    run("%redis PING")  # connected
    stopping = when_blocked(redis, lambda: os.kill(os.getpid(), signal.SIGINT))
    assert run(WAIT) == "(interrupted)"
    stopping.join()
    run("%redis XADD chennai * temperature 26")
    assert run("%redis PING") == "PONG"


WAIT = "%redis XREAD BLOCK 0 STREAMS chennai $"


def when_blocked(redis, act):
    """Do something from another thread once a client blocks."""

    def wait():
        while not int(redis.info("clients")["blocked_clients"]):
            pass
        act()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


# ------------------------------------------------------------------ errors in a kernel


CELLS = {
    "%load_ext helpers\nfrom helpers import *\nclient = connect()": "",
    "%redis ECHO hello": "",
    "____": "",
    "client.set('text', 1)\nclient.xadd('text', {'n': 1})": "line 2: client.xadd('text', {'n': 1})",
    "key = 'text'\nlist(scan(client, key))": "line 2: list(scan(client, key))",
    "EntryId.parse('tomorrow')": "line 1: EntryId.parse('tomorrow')",
    "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nwhile True: pass": "Interrupted.",
    "1 / 0": "ZeroDivisionError",
}


def test_a_notebook_shows_errors_of_redis_in_two_lines_and_others_as_python_does(redis):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    nbclient.NotebookClient(notebook, timeout=int(patient(30)), allow_errors=True).execute()
    shown = ["\n".join(_shown(output) for output in cell.outputs) for cell in notebook.cells]
    assert shown[:3] == ["", '"hello"\n', "____"]
    for text, (code, expected) in zip(shown, CELLS.items(), strict=True):
        assert expected in text, code
        if expected.startswith("line"):
            assert text.count("\n") == 1
    assert "WRONGTYPE" in shown[3]
    assert "'text' is not a stream" in shown[4]
    assert "Traceback" in shown[-1]
    assert not any("Traceback" in text for text in shown[:-1])


def _shown(output):
    if output.output_type == "error":
        return "\n".join(output.traceback)
    return output.get("text") or output.data["text/plain"]


# ------------------------------------------------------------------ handlers that fail

WORK = """
%load_ext helpers
import os
from helpers import AsyncConsumer, Consumer, DeadLetters, Group, connect, connect_async
from helpers.chaos import Fault, Proxy

def work(handler, group):
    redis = connect()
    Group(redis, "s", group).create("0")
    consumer = Consumer(redis, "s", group, handler, name="alice", max_deliveries=3)
    consumer.run(drain=True)
    return consumer.counts.reconnects
"""
TYPO = """
def third(entry):
    if entry.id.ms == 3:
        print(tempratur)

work(third, "typo");
"""
AWAITED = """
async def late(entry):
    {}["x"]

Group(connect(), "s", "awaited").create("2-0")
await AsyncConsumer(connect_async(), "s", "awaited", late, name="bob").run(limit=1);
"""
REFUSED = "work(lambda entry: ('INCR', 's') if entry.id.ms == 1 else None, 'refused');"
MANY = "work(lambda entry: missing, 'many');"
LOST = """
with Proxy() as proxy:
    proxy.arm(Fault.LOSE_REPLY, at="XREADGROUP")
    os.environ["REDIS_URL"] = proxy.url
    print(work(lambda entry: None, "lost"))
"""
AGAIN = """
%reload_ext helpers
DeadLetters(connect(), "s", "typo").replay_all()
work(third, "typo");
"""
TYPO_SAID = (
    "alice failed on 3-0: NameError: name 'tempratur' is not defined (line 3: print(tempratur))\n"
)
SAID = {
    WORK: "",
    TYPO: TYPO_SAID,
    AWAITED: "bob failed on 3-0: KeyError: 'x' (line 2: {}[\"x\"])\n",
    REFUSED: "alice failed on 1-0: The effect was refused: WRONGTYPE Operation against a key "
    "holding the wrong kind of value\n",
    MANY: "".join(
        f"alice failed on {n}-0: NameError: name 'missing' is not defined (line 1: {MANY})\n"
        for n in range(1, 6)
    )
    + "alice failed on more entries: this cell shows the first 5\n",
    AGAIN: TYPO_SAID,
    LOST: "1\n",
}


def test_a_failing_handler_is_one_line_in_the_cell_and_what_passes_is_none(redis):
    for number in range(1, 9):
        redis.xadd("s", {"n": number}, id=f"{number}-0")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in SAID])
    nbclient.NotebookClient(notebook, timeout=30, coalesce_streams=True).execute()
    for cell, said in zip(notebook.cells, SAID.values(), strict=True):
        outputs = [(output.name, output.text) for output in cell.outputs]
        assert outputs == ([("stdout", said)] if said else [])


# ------------------------------------------------------------------ source


@once
def test_show_names_the_file_and_cuts_docstrings_short():
    shown = show(Producer.add, entry.entries).data
    assert shown.startswith("From `helpers/streams/producer.py`:\n\n```python\ndef add(self")
    assert "```\n\nFrom `helpers/streams/entry.py`:\n\n```python\ndef entries(reply" in shown
    assert '    """Append one entry and return its ID."""\n    return' in shown


@once
@pytest.mark.parametrize("thing", [EntryId, EntryId.parse, Producer, Producer.flush, entry, reader])
def test_the_code_that_is_shown_is_the_code_that_runs(thing):
    [block] = show(thing).data.split("```python\n")[1:]
    assert _code(block.removesuffix("\n```")) == _code(textwrap.dedent(inspect.getsource(thing)))


def _code(source):
    """What runs: the syntax tree without its docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            node.value.value = None
    return ast.dump(tree)
