"""The parts of a run: what runs together, what measures and so runs alone, and the contract.

`make test` runs everything on the first server and the contract on the others. The contract is
what servers can differ in: replies, scripts, errors, how commands behave. The run compares: a
command or a script that only the first server was sent is missing from the contract, and fails it.
On a cluster, the contract's tests of `helpers.streams` and what builds on it get its client.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from helpers.course.home import CHECKOUT

TOGETHER, CONTRACT, CLUSTER, ALONE = "together", "contract", "cluster", "alone"
PARTS = {
    TOGETHER: "everything",
    CONTRACT: "the contract",
    CLUSTER: "the contract on a cluster of three",
    ALONE: "what measures",
}

Choice = dict[str, tuple[str, ...]]  # files, and with how their tests begin; () stands for all

MEASURING: Choice = {
    "notebooks/06_crash_recovery.ipynb": (),
    "notebooks/08_speed.ipynb": (),
    "tests/test_tuning.py": ("test_count_", "test_block_ends_early", "test_a_pause_buys"),
}
IN_CONTRACT: Choice = {
    "tests/test_aggregating.py": (
        "test_the_mean_of_each_hour",
        "test_exactly_120_averages_are_kept",
        "test_it_goes_on_from_where_it_was",
        "test_a_partition_that_is_gone_while_it_is_read",
        "test_a_partition_of_another_type",
        "test_to_begin_anew_makes_all_averages_again",
    ),
    "tests/test_behaviours.py": (),
    "tests/test_bulk.py": (
        "test_it_appends_what_the_plain_producer_does",
        "test_a_refusal_names_the_entry",
        "test_a_full_server",
    ),
    "tests/test_cheatsheet.py": (),
    "tests/test_cluster_slots.py": (),
    "tests/test_commit.py": (
        "test_effects_and_acknowledgement",
        "test_an_effect_that_is",
        "test_commands_that_no_server_takes",
        "test_xackdel",
        "test_what_is_handled_is_deleted",
        "test_what_another_group",
        "test_the_last_group_deletes",
        "test_what_is_put_aside",
    ),
    "tests/test_connect.py": (
        "test_text_is_text",
        "test_asyncio_gives",
        "test_a_client_waits",
        "test_a_raw_client",
    ),
    "tests/test_consumer.py": (
        "test_own_history_comes_first",
        "test_what_was_delivered",
        "test_claiming_goes_on_past_deleted",
        "test_what_is_in_hand",
        "test_entries_that_were_deleted",
        "test_after_its_last_delivery",
        "test_of_two_with_one_name",
        "test_a_generated_name",
        "test_a_stream_or_group_that_does_not_exist",
        "test_what_ends_under_a_consumer",
        "test_a_group_that_ends_while",
        "test_plain_clients",
    ),
    "tests/test_database.py": (),
    "tests/test_deadletters.py": (),
    "tests/test_drawings.py": (
        "test_a_server_",
        "test_a_consumer_looks_",
        "test_a_partition_expires_",
        "test_a_pipeline_makes_",
    ),
    "tests/test_entry.py": (),
    "tests/test_group.py": (),
    "tests/test_other_servers.py": (),
    "tests/test_partition_producer.py": (
        "test_a_reading_is_an_entry",
        "test_a_late_reading_gets",
        "test_a_partition_expires",
        "test_a_past_day_is_refused",
        "test_a_day_is_written_up_to_the_second",
        "test_a_partition_of_another_type",
        "test_a_stream_on_which_no_id",
        "test_a_day_that_the_server_takes_for_past",
    ),
    "tests/test_partitions.py": (),
    "tests/test_parts.py": (),
    "tests/test_producer.py": (
        "test_a_server_that_is_busy",
        "test_an_explicit_id",
        "test_the_ids_of_a_batch",
        "test_an_id_that_is_on_the_stream",
        "test_as_many_fields",
        "test_a_key_that_holds_no_stream",
        "test_the_server_remembers",
    ),
    "tests/test_reader.py": (
        "test_dollar_",
        "test_many_readers",
        "test_plain_clients",
        "test_a_stream_that_is_trimmed",
        "test_a_stream_deleted_while_it_blocks",
        "test_what_cannot_be_read",
        "test_a_stored_position",
        "test_what_dollar_meant",
        "test_the_older_of_two",
        "test_a_reader_can_be_forgotten",
    ),
    "tests/test_room_keeping.py": (),
    "tests/test_scan.py": (),
    "tests/test_single.py": ("test_copies_add", "test_of_a_named", "test_a_copy_of_a_reader"),
    "tests/test_server.py": (
        "test_a_wrong_password",
        "test_a_database_that_the_server_does_not_have",
        "test_only_its_owner",
        "test_the_data_is_kept",
        "test_a_stopped_server",
        "test_a_server_that_was_killed",
        "test_a_port_that_is_taken",
        "test_the_hidden_folder_may_have_any_name",
        "test_data_that_cannot_be_read",
        "test_a_program_that_ends_at_once",
    ),
    "tests/test_server_states.py": (),
    "tests/test_state.py": (),
    "tests/test_streams_on_a_cluster.py": ("test_those_that_wait", "test_a_slot_moves"),
    "tests/test_suite.py": ("test_a_server_says",),
    "tests/test_text.py": (
        "test_scan_and_readers",
        "test_a_strict",
        "test_the_end_of_a_stream",
    ),
    "tests/test_theatre.py": (
        "test_what_is_done_pending",
        "test_a_deleted_entry_that_is_pending",
        "test_what_a_claim_does",
    ),
    "tests/test_values.py": (
        "test_an_entry_larger",
        "test_of_own_ids",
        "test_a_stream_at_its_last_id",
        "test_a_millisecond_without_ids",
        "test_a_foreign_key",
    ),
    "tests/test_wiki_counters.py": (),
    "tests/test_wiki_publisher.py": (
        "test_every_change_is_published",
        "test_the_stream_does_not_grow",
        "test_a_place_that_was_deleted",
        "test_a_key_that_holds",
        "test_a_full_stream",
    ),
    "tests/test_wiki_subscriber.py": (
        "test_what_is_sent",
        "test_old_buckets",
        "test_a_key_that_holds",
        "test_a_counter_that_is_no_number",
    ),
}  # fmt: skip

# The contract's tests of these files run on a cluster too, but for those that need one server: they
# reach it by a plain client or through a proxy, or name keys of several hash slots.
ON_A_CLUSTER: Choice = {
    "tests/test_aggregating.py": ("test_a_partition_that_is_gone_while_it_is_read",),
    "tests/test_bulk.py": (),
    "tests/test_commit.py": (
        "test_commands_that_no_server_takes",
        "test_effects_and_acknowledgement",
        "test_xackdel",
    ),
    "tests/test_consumer.py": ("test_plain_clients", "test_what_ends_under_a_consumer"),
    "tests/test_deadletters.py": (
        "test_they_lie_where_they_are_told_to",
        "test_what_is_no_dead_letter_says_so",
    ),
    "tests/test_group.py": (
        "test_every_command_for_a_missing_group_gets_the_same_sentence[XREADGROUP GROUP g alice "
        "STREAMS t",
        "test_plain_clients",
    ),
    "tests/test_partition_producer.py": (),
    "tests/test_partitions.py": (),
    "tests/test_parts.py": (),
    "tests/test_producer.py": ("test_a_server_that_is_busy",),
    "tests/test_reader.py": (
        "test_a_reader_can_be_forgotten",
        "test_a_stream_that_is_trimmed",
        "test_plain_clients",
        "test_the_older_of_two",
        "test_what_cannot_be_read",
    ),
    "tests/test_scan.py": ("test_the_next_entries_tell_their_size",),
    "tests/test_server_states.py": (),
    "tests/test_single.py": (),
    "tests/test_state.py": ("test_what_the_server_refuses",),
    "tests/test_values.py": (),
    "tests/test_wiki_counters.py": (
        "test_a_field_that_is_no_bucket",
        "test_a_sweep_takes",
        "test_old_buckets_are_swept",
    ),
}


def skips(file: Path, part: str | None) -> bool:
    """Whether a part has nothing of a file, so that it need not be read."""
    if part in (None, TOGETHER) or not file.is_file():
        return False
    return str(file.relative_to(CHECKOUT)) not in (
        ON_A_CLUSTER if part == CLUSTER else _choice(part)
    )


def chosen(items: Sequence[pytest.Item], part: str | None, first: bool) -> list[pytest.Item]:
    """The tests of a part, or of all of them.

    What is marked `once` is for the first server, unless the contract names the test itself.
    """
    if part is None:
        return [item for item in items if first or not _once(item)]
    named = [item for item in items if _named(_choice(part), item, first)]
    if part == CLUSTER:
        return [item for item in named if _on_a_cluster(item)]
    if part != TOGETHER:
        return named
    apart = set(named)
    return [item for item in items if item not in apart and (first or not _once(item))]


def _choice(part: str | None) -> Choice:
    return IN_CONTRACT if part in (CONTRACT, CLUSTER) else MEASURING


def _on_a_cluster(item: pytest.Item) -> bool:
    file, _, name = item.nodeid.partition("::")
    return file in ON_A_CLUSTER and not name.startswith(ON_A_CLUSTER[file])


def _named(choice: Choice, item: pytest.Item, first: bool) -> bool:
    file, _, name = item.nodeid.partition("::")
    names = choice.get(file)
    if not names:
        return names is not None and (first or not _once(item))
    return name.startswith(names)


def _once(item: pytest.Item) -> bool:
    return item.get_closest_marker("once") is not None
