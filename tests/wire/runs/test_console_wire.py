"""Consoles of runs over the wire, on both databases."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from modelyard.v1 import run_console_pb2 as pb
from modelyard.v1 import run_pb2
from tests.parts.server import LiveServer, Stubs, fields, new_project, reason

KEPT = 10_000


@pytest.fixture
def stubs(any_live_server: LiveServer) -> Stubs:
    return any_live_server.stubs()


def make(stubs: Stubs, resume: Any = run_pb2.RESUME_POLICY_NEVER, **run: Any) -> run_pb2.Run:
    request = run_pb2.CreateRunRequest(run=run_pb2.Run(**run), resume=resume)
    made: run_pb2.Run = stubs.runs.CreateRun(request).run
    return made


def line(number: int, text: str, time: float = 0.0, **more: Any) -> pb.ConsoleLine:
    at = Timestamp()
    at.FromMicroseconds(1_000_000_000 + round((time or number) * 1_000_000))
    return pb.ConsoleLine(number=number, text=text, write_time=at, **more)


def log(
    stubs: Stubs, run: run_pb2.Run, sequence: int, *lines: pb.ConsoleLine, writer: str = "w", **more: Any
) -> bool:
    """Sends a batch; whether it was new."""
    request = pb.LogConsoleLinesRequest(run_id=run.id, writer=writer, sequence=sequence, lines=lines, **more)
    return not stubs.console.LogConsoleLines(request).duplicate


def pages(stubs: Stubs, run: run_pb2.Run, **request: Any) -> Iterator[list[pb.ConsoleLine]]:
    token = ""
    while True:
        asked = pb.ListConsoleLinesRequest(run_id=run.id, page_token=token, **request)
        reply = stubs.console.ListConsoleLines(asked)
        yield list(reply.lines)
        token = reply.next_page_token
        if not token:
            return


def texts(stubs: Stubs, run: run_pb2.Run, **request: Any) -> list[str]:
    request.setdefault("page_size", 1_000)
    return [line.text for page in pages(stubs, run, **request) for line in page]


def test_lines_come_back_as_they_were_sent_and_a_batch_is_stored_once(stubs: Stubs) -> None:
    run = make(stubs, project=new_project())
    sent = [
        line(1, "tab\tand \x1b[31mred\x1b[0m ü", stream=pb.CONSOLE_STREAM_STDERR, process="rank 1"),
        line(2, "", stream=pb.CONSOLE_STREAM_STDOUT),
    ]
    assert [log(stubs, run, 7, *sent), log(stubs, run, 7, line(3, "again"))] == [True, False]
    (found,) = pages(stubs, run)
    for each in sent:
        each.writer = "w"
    assert found == sent


def test_colours_are_kept_and_other_control_characters_are_not(stubs: Stubs) -> None:
    run = make(stubs, project=new_project())
    for number, text in enumerate(
        (
            "\x1b[2K\x1b[1A\rdone\b",
            "\x1b]8;;http://x\x1b\\link\x1b]8;;\x07",
            "a\nb\x7f\x85c",
            "\x1b[1;32mok\x1b[m",
        ),
        1,
    ):
        log(stubs, run, number, line(number, text))
    assert texts(stubs, run) == ["done", "link", "abc", "\x1b[1;32mok\x1b[m"]


def test_a_line_that_is_sent_again_replaces_the_earlier_one_in_its_place(stubs: Stubs) -> None:
    run = make(stubs, project=new_project())
    log(stubs, run, 1, line(1, "begin"), line(2, "10%"), line(3, "note"))
    for sequence, percent in enumerate((20, 60, 100), 2):
        log(stubs, run, sequence, line(2, f"{percent}%", time=50 + percent))
    log(stubs, run, 5, line(4, "end", time=4), line(2, "done"), line(4, "the end", time=5))
    assert texts(stubs, run) == ["begin", "done", "note", "the end"]


def test_lines_of_several_writers_are_in_the_order_of_time(stubs: Stubs) -> None:
    run = make(stubs, project=new_project())
    for rank in range(3):
        mine = [line(n, f"{rank}.{n}", time=3 * n + rank, process=f"rank {rank}") for n in range(1, 400)]
        log(stubs, run, 1, *mine, writer=f"w{rank}")
    expected = [f"{rank}.{n}" for n in range(1, 400) for rank in range(3)]
    assert texts(stubs, run) == expected
    assert texts(stubs, run, process="rank 1", page_size=50) == expected[1::3]
    # A clock that was set back does not move the lines of its writer.
    log(stubs, run, 2, line(400, "back", time=1), writer="w0")
    assert texts(stubs, run).index("back") > texts(stubs, run).index("0.399")


def test_pages_from_the_end_have_the_newest_lines_first_and_each_is_oldest_first(stubs: Stubs) -> None:
    run = make(stubs, project=new_project())
    for sequence in range(10):
        log(
            stubs, run, sequence + 1, *(line(sequence * 70 + n, f"{sequence * 70 + n}") for n in range(1, 71))
        )
    found = [[int(each.text) for each in page] for page in pages(stubs, run, from_end=True, page_size=300)]
    assert found == [[*range(401, 701)], [*range(101, 401)], [*range(1, 101)]]
    assert [int(text) for text in texts(stubs, run, page_size=300)] == [*range(1, 701)]


def test_lines_are_found_by_their_text_stream_and_process(stubs: Stubs) -> None:
    run = make(stubs, project=new_project())
    log(
        stubs, run, 1,
        line(1, "Loss ÄNDERT sich", stream=pb.CONSOLE_STREAM_STDOUT),
        line(2, "\x1b[31mFai\x1b[0mlure: loss", stream=pb.CONSOLE_STREAM_STDERR),
        line(3, "fine", process="worker"),
    )  # fmt: skip
    assert texts(stubs, run, text="LOSS") == ["Loss ÄNDERT sich", "\x1b[31mFai\x1b[0mlure: loss"]
    assert texts(stubs, run, text="ändert") == ["Loss ÄNDERT sich"]
    assert texts(stubs, run, text="failure", stream=pb.CONSOLE_STREAM_STDERR)
    assert not texts(stubs, run, text="failure", stream=pb.CONSOLE_STREAM_STDOUT)
    assert texts(stubs, run, process="worker") == ["fine"]
    assert len(texts(stubs, run, process="")) == 2


def test_the_last_lines_of_an_attempt_are_kept(stubs: Stubs) -> None:
    run = make(stubs, project=new_project())
    for sequence in range(3):
        first = sequence * 4_000
        log(stubs, run, sequence + 1, *(line(first + n, str(first + n)) for n in range(1, 4_001)))
    assert [int(text) for text in texts(stubs, run)] == [*range(2_001, 12_001)]
    # A line that is gone does not come back when it is replaced, nor one that is older than all.
    log(stubs, run, 4, line(2_000, "2000", time=99_999))
    log(stubs, run, 1, line(1, "old", time=1), writer="other")
    assert [int(text) for text in texts(stubs, run)] == [*range(2_001, 12_001)]
    log(stubs, run, 2, line(2, "-1", time=99_999), writer="other")
    assert [int(text) for text in texts(stubs, run)] == [*range(2_002, 12_001), -1]


def test_any_order_of_batches_gives_what_one_dictionary_would_hold(stubs: Stubs) -> None:
    chance = random.Random(7)
    run = make(stubs, project=new_project())
    expected: dict[tuple[str, int], tuple[float, str]] = {}
    for sequence in range(1, 41):
        writer = chance.choice("ab")
        last = max((number for name, number in expected if name == writer), default=0)
        numbers = {*range(last + 1, last + chance.randrange(1, 120))}
        numbers |= {chance.randrange(1, last + 1) for _ in range(3) if last}
        lines = []
        for number in chance.sample(sorted(numbers), len(numbers)):
            text = f"{writer}{number}:{sequence}" + "x" * chance.choice((0, 0, 900))
            place = expected.get((writer, number), (2 * number + (writer == "b"), ""))[0]
            expected[writer, number] = (place, text)
            lines.append(line(number, text, time=2 * number + (writer == "b")))
        assert log(stubs, run, sequence, *lines, writer=writer)
    ordered = [text for _, text in sorted(expected.values())]
    for size in (7, 250, 1_000):
        assert texts(stubs, run, page_size=size) == ordered
        backwards = list(pages(stubs, run, page_size=size, from_end=True))
        assert [each.text for page in reversed(backwards) for each in page] == ordered


def test_batches_sent_at_once_are_stored_once(stubs: Stubs) -> None:
    run = make(stubs, project=new_project())
    with ThreadPoolExecutor(8) as pool:
        new = list(pool.map(lambda n: log(stubs, run, n % 10 + 1, line(n % 10 + 1, str(n % 10))), range(40)))
    assert sum(new) == 10
    assert texts(stubs, run) == [*map(str, range(10))]


def test_a_batch_that_overtook_others_costs_none_of_them(stubs: Stubs) -> None:
    run = make(stubs, project=new_project())
    for sequence in (*range(2, 102), 1, 103):
        assert log(stubs, run, sequence, line(sequence, "x")) == (sequence != 1), sequence
    assert log(stubs, run, 102, line(102, "x"))
    assert not log(stubs, run, 102, line(102, "x"))


def test_late_lines_are_stored_after_the_end_and_are_no_heartbeat(stubs: Stubs) -> None:
    run = make(stubs, project=new_project())
    log(stubs, run, 1, line(1, "before"))
    stubs.runs.FinishRun(run_pb2.FinishRunRequest(id=run.id, exit_code=1))
    ended = stubs.runs.GetRun(run_pb2.GetRunRequest(id=run.id)).run
    with pytest.raises(grpc.RpcError) as refused:
        log(stubs, run, 2, line(2, "refused"))
    assert reason(refused) == (grpc.StatusCode.FAILED_PRECONDITION, "RUN_FINISHED")
    assert log(stubs, run, 2, line(2, "late"), late=True)
    assert texts(stubs, run) == ["before", "late"]
    assert stubs.runs.GetRun(run_pb2.GetRunRequest(id=run.id)).run == ended


def test_each_attempt_has_its_own_lines(stubs: Stubs) -> None:
    project = new_project()
    run = make(stubs, project=project, name="r")
    log(stubs, run, 1, line(1, "first"))
    make(stubs, run_pb2.RESUME_POLICY_NEW_ATTEMPT, project=project, name="r")
    assert texts(stubs, run) == []
    assert log(stubs, run, 1, line(1, "second"))
    assert log(stubs, run, 2, line(2, "first too"), attempt=1, late=True)
    assert texts(stubs, run) == ["second"]
    assert texts(stubs, run, attempt=1) == ["first", "first too"]
    with pytest.raises(grpc.RpcError) as refused:
        texts(stubs, run, attempt=3)
    assert reason(refused)[0] is grpc.StatusCode.NOT_FOUND


def test_long_lines_are_listed_in_pages_that_fit_a_message(stubs: Stubs) -> None:
    run = make(stubs, project=new_project())
    for sequence in range(4):
        log(stubs, run, sequence + 1, *(line(sequence * 150 + n, "ü" * 8_192) for n in range(1, 151)))
    for from_end in (False, True):
        numbers = [
            [each.number for each in page] for page in pages(stubs, run, page_size=1000, from_end=from_end)
        ]
        assert len(numbers) > 2
        ordered = reversed(numbers) if from_end else numbers
        assert [number for page in ordered for number in page] == [*range(1, 601)]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"writer": ""}, "writer"),
        ({"writer": "w" * 65}, "writer"),
        ({"sequence": 0}, "sequence"),
        ({"lines": []}, "lines"),
        ({"lines": [line(n, "") for n in range(1, 10_002)]}, "lines"),
        ({"lines": [line(n, "x" * 16_000) for n in range(1, 250)]}, "lines"),
        ({"lines": [line(0, "x", time=1)]}, "lines[0].number"),
        ({"lines": [line(1, "a"), line(2, "\0")]}, "lines[1].text"),
        ({"lines": [line(1, "x" * 16_385)]}, "lines[0].text"),
        ({"lines": [line(1, "x", process="a\nb")]}, "lines[0].process"),
        ({"lines": [line(1, "x", stream=9)]}, "lines[0].stream"),
        ({"lines": [pb.ConsoleLine(number=1)]}, "lines[0].write_time"),
        ({"run_id": "x"}, "run_id"),
    ],
)
def test_wrong_lines_are_refused_by_their_field(stubs: Stubs, change: dict[str, Any], field: str) -> None:
    run = make(stubs, project=new_project())
    given = {"run_id": run.id, "writer": "w", "sequence": 1, "lines": [line(1, "x")], **change}
    with pytest.raises(grpc.RpcError) as refused:
        stubs.console.LogConsoleLines(pb.LogConsoleLinesRequest(**given))
    assert reason(refused) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert fields(refused) == [field]


def test_page_tokens_are_bound_to_their_query(stubs: Stubs) -> None:
    run = make(stubs, project=new_project())
    log(stubs, run, 1, line(1, "a"), line(2, "b"))
    first = stubs.console.ListConsoleLines(pb.ListConsoleLinesRequest(run_id=run.id, page_size=1))
    for other in ({"text": "b"}, {"from_end": True}, {"process": ""}):
        request = pb.ListConsoleLinesRequest(run_id=run.id, page_token=first.next_page_token, **other)
        with pytest.raises(grpc.RpcError) as refused:
            stubs.console.ListConsoleLines(request)
        assert reason(refused)[1] == "INVALID_PAGE_TOKEN"
