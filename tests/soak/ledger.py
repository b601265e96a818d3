"""Whether client and gateway tell the same of each request, id by id; and whether the engine counts the same ends.

The gateway writes a line for each request when it has ended, many lines at once: one that is killed loses those of the
last moment. Of requests that it rejects with 429 or 503 it writes ten lines a second, and how many more there were.

Triton counts messages: requests that wait at the same moment travel in one, and so does a channel, from when it is
opened until it is ended. The ensemble's count is that of its first step, and none fails, a cancelled one included.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from tests.faults.ledger import answered, ended, of_triton
from tests.launch.server import Server
from tests.soak.client import PREFIXES, QUESTIONS, Leaving, ask, chat
from tests.waiting import wait_for
from triton_repo.contract.tensors import MAX_ROWS

WHOLE, LEFT = 40, 20
_MOST_CHANNELS: Final = 4  # that are ended meanwhile: each time that the engine was idle, one
_LOST_S: Final = 2.0  # of lines, before a gateway was killed
_OF_GATEWAY: Final = r"^gateway │ .* INFO gateway\.access "
_REJECTIONS: Final = frozenset({429, 503})
_LEFT_OUT: Final = re.compile(_OF_GATEWAY + r"(?P<num>\d+) more requests were rejected")
_LINE: Final = re.compile(
    _OF_GATEWAY + r"POST \S+ (?P<status>\d+)(?P<incomplete> incomplete)? .*client_id=(?P<id>[\w-]+)"
)


class Sent(NamedTuple):
    """What became of a request, as its client saw it; `ended_s` on time.monotonic."""

    status: int
    ending: str
    ended_s: float


class Line(NamedTuple):
    """What the gateway wrote of it."""

    status: int
    complete: bool


def lines_of(log: Iterable[str]) -> Mapping[str, Sequence[Line]]:
    """By the id that the client gave."""
    found: dict[str, list[Line]] = {}
    for match in filter(None, map(_LINE.search, log)):
        found.setdefault(match["id"], []).append(Line(int(match["status"]), match["incomplete"] is None))
    return found


def num_left_out(log: Iterable[str]) -> int:
    """Of rejected requests, how many the gateway has counted without a line."""
    return sum(int(match["num"]) for match in filter(None, map(_LEFT_OUT.search, log)))


def disagreements(
    sent: Mapping[str, Sent],
    lines: Mapping[str, Sequence[Line]],
    outages: Sequence[tuple[float, float]],
    num_left_out: int = 0,
) -> Iterator[str]:
    """Of which request client and gateway say something else; `outages` are from when to when no gateway served."""
    untold = 0
    for id, (status, ending, ended_s) in sent.items():
        told = lines.get(id, ())
        lost = ending == "cut" or any(began - _LOST_S <= ended_s <= end for began, end in outages)
        if len(told) > 1:
            yield f"{id}: {ending} with status {status}, and several lines: {told}"
        elif not told and status in _REJECTIONS and not lost:
            untold += 1
        elif not told and status and not lost:
            yield f"{id}: {ending} with status {status}, of which the gateway knows nothing"
        elif told and status and told[0].status != status:
            yield f"{id}: status {status}, and {told[0].status} in the gateway's log"
        elif told and ending in {"complete", "error", "rejected"} and not told[0].complete:
            yield f"{id}: {ending}, and incomplete in the gateway's log"
    if untold > num_left_out:
        yield f"{untold} were rejected without a line, and {num_left_out} in the gateway's log"
    yield from (f"{id}: in the gateway's log, and no client's" for id in lines.keys() - sent.keys())


async def closing(server: Server, headers: bytes) -> tuple[dict[str, Counter[str]], list[str]]:
    """What client, gateway, engine and Triton count of some last requests, and where they differ."""
    before = _counted(server)
    lengths = [100] * WHOLE + [1000] * LEFT  # those who leave do so before the end
    bodies = [
        chat(PREFIXES[at % 3], QUESTIONS[at % 4], max_tokens=length, ignore_eos=True)
        for at, length in enumerate(lengths)
    ]
    leaving = [None] * WHOLE + [Leaving(events=1 + at, reset=at % 2 == 0) for at in range(LEFT)]
    answers = await asyncio.gather(
        *(ask(server.url, body, leaves, headers=headers) for body, leaves in zip(bodies, leaving, strict=True))
    )
    client = Counter(answer.ending for answer in answers)
    wanted = {
        "gateway": Counter({"length": client["complete"], "cancelled": client["left"]}),
        "engine": Counter({"finished": client["complete"], "cancelled": client["left"]}),
    }
    total = WHOLE + LEFT

    def counts() -> dict[str, Counter[str]]:
        return {name: now - before[name] for name, now in _counted(server).items()}

    def all_have_ended() -> bool:
        now = counts()
        return (
            all(now[name].total() >= total for name in wanted)
            and now["Triton"].total() >= now["its first step"].total()
        )

    await asyncio.to_thread(wait_for, all_have_ended, lambda: str(counts()))
    last = counts()
    faults = [f"{name} counts {last[name]}, not {wanted[name]}" for name in wanted if last[name] != wanted[name]]
    return {"client": client, **last}, [*faults, *triton_faults(last["Triton"], last["its first step"], total)]


def triton_faults(ensemble: Counter[str], first_step: Counter[str], num_requests: int) -> Iterator[str]:
    """What Triton cannot have counted of so many requests."""
    least, most = -(-num_requests // MAX_ROWS), num_requests + _MOST_CHANNELS
    if ensemble.keys() - {"success"} or not least <= ensemble["success"] <= most:
        yield f"Triton counts {ensemble}, not {least} to {most} messages, all of them with success"
    if ensemble != first_step:
        yield f"Triton counts {ensemble}, and {first_step} of the ensemble's first step"


def _counted(server: Server) -> dict[str, Counter[str]]:
    return {
        "gateway": Counter(_whole(answered(server))),
        "engine": Counter(_whole(ended(server))),
        "Triton": Counter(_whole(of_triton(server, "demo"))),
        "its first step": Counter(_whole(of_triton(server, "demo_preprocess"))),
    }


def _whole(counts: Mapping[str, float]) -> dict[str, int]:
    return {name: int(count) for name, count in counts.items()}
