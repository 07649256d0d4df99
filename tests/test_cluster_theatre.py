"""The theatre of a cluster: what it says, and that its picture holds what it says."""

from __future__ import annotations

import pytest

from helpers.chaos import NodeStatus
from helpers.views.nodes import ClusterLook, PartLook, text
from helpers.views.nodes.look import serves
from helpers.views.nodes.picture import sheet
from helpers.views.nodes.widget import StillCluster
from helpers.views.theatre.draw import svg
from helpers.views.theatre.layout import WIDTH, Area, Words

pytestmark = pytest.mark.once

NODES = (
    NodeStatus("n1", 7001, True, "primary", "", ((0, 8191),), 1),
    NodeStatus("n2", 7002, False),
    NodeStatus("n3", 7003, True, "primary", "", ((8192, 16383),), 3),
    NodeStatus("n4", 7004, True, "replica", "n1", behind=1200, linked=True),
)
PARTS = (
    PartLook("weather:{0}", "n1", 1234, "alice"),
    PartLook("weather:{1}", "n3", 5, ""),
    PartLook("weather:{2}"),
)
SEEN = ClusterLook(NODES, PARTS)


def test_in_words():
    assert text(SEEN).splitlines() == [
        "n1  primary",
        "  weather:{0}  1,234  alice",
        "n2  doesn't answer",
        "n3  primary",
        "  weather:{1}  5",
        "n4  replica of n1, 1,200 bytes behind",
        "no node serves weather:{2}",
    ]


def test_of_two_that_claim_a_slot_the_higher_epoch_is_right():
    late = NodeStatus("n2", 7002, True, "primary", "", ((0, 16383),), 2)
    assert [serves((*NODES[:1], late, NODES[2]), slot) for slot in (0, 9000)] == ["n2", "n3"]
    assert serves((), 0) == ""


@pytest.mark.parametrize("seen", [SEEN, ClusterLook(NODES), ClusterLook(())], ids=str)
def test_the_picture_stays_on_its_paper(seen):
    paper = sheet(seen, "stream weather in 3 parts")
    for shape in paper.shapes:
        assert 0 <= shape.x <= WIDTH
        assert 0 <= shape.y <= paper.height
        if isinstance(shape, Area):
            assert shape.x + shape.width <= WIDTH
            assert shape.y + shape.height <= paper.height
    words = [shape.text for shape in paper.shapes if isinstance(shape, Words)]
    for part in seen.parts:
        if part.node:
            assert part.stream[part.stream.find("{") :] in words
    assert all(node.name in words for node in seen.nodes)


def test_it_is_read_aloud_and_stands_still_without_a_kernel():
    drawn = svg(sheet(SEEN, "weather"), "weather", text(SEEN))
    assert 'aria-label="n1  primary' in drawn
    picture, _ = StillCluster(SEEN, "weather")._repr_mimebundle_()
    assert picture["image/png"].startswith(b"\x89PNG")
    assert picture["text/plain"] == text(SEEN)
