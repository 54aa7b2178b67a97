"""Items to responses: the stage that costs, so the one that is planned, journaled and resumed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from evenhand.engines.base import Batch, Engine, Estimate, Request, Sampling
from evenhand.errors import EngineError
from evenhand.records import Item, Response
from evenhand.runs.journal import Journal

if TYPE_CHECKING:
    from evenhand.config import AuditConfig

GIVE_UP = 32
"""Failed responses, with none answered, after which a configuration is given up: the cause is not in the rows."""

Progress = Callable[[str, int, int], None]
"""Called as (what, rows done, rows in all)."""

Announce = Callable[[Sequence[tuple[str, Estimate]]], None]
"""Given what is left to do and its cost, stage by stage, before a run asks anything; the costs are then probed."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """One model under one system prompt: the unit that findings never mix."""

    label: str
    engine: Engine
    system_prompt: str | None = None

    def chat_of(self, item: Item) -> Item:
        """The item with this configuration's system prompt in place of its own."""
        if self.system_prompt is None:
            return item
        from dataclasses import replace

        from evenhand.records import Message

        rest = tuple(message for message in item.chat if message.role != "system")
        head = (Message("system", self.system_prompt),) if self.system_prompt else ()
        return replace(item, chat=head + rest)


class _Watched:
    """An engine that reports the progress of its generation; everything else is the engine's own."""

    def __init__(self, engine: Engine, what: str, progress: Progress):
        self._engine, self._what, self._progress = engine, what, progress

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def generate(
        self, batches: Sequence[Batch], sampling: Sampling, *, config: str
    ) -> Iterator[tuple[Batch, list[Response]]]:
        """The engine's own responses, counted as they come."""
        done, total = 0, sum(len(batch.requests) for batch in batches)
        self._progress(self._what, done, total)
        for batch, rows in self._engine.generate(batches, sampling, config=config):
            done += len(rows)
            self._progress(self._what, done, total)
            yield batch, rows


def watched(engine: Engine, what: str, progress: Progress) -> Engine:
    """The same engine, with its generation shown as ``what`` in the progress."""
    return cast(Engine, _Watched(engine, what, progress))


def run_sampling(config: AuditConfig, **defaults: Any) -> Sampling:
    """How an audit's responses are drawn: by the run's settings. A method's own ``defaults`` hold where the user set nothing."""
    settings = {name: getattr(config, name) for name in Sampling.model_fields}
    return Sampling(
        **settings | {name: value for name, value in defaults.items() if name not in config.model_fields_set}
    )


def requests_for(
    configuration: Configuration, items: Iterable[Item], repetitions: int, *, plain: bool = False
) -> list[Request]:
    """Every (item, repetition) that a configuration must answer; ``plain`` ones continue the item's one message."""
    return [
        Request(item.id, repetition, configuration.chat_of(item).chat, plain)
        for item in items
        for repetition in range(repetitions)
    ]


def respond(
    configurations: Sequence[Configuration],
    items: Sequence[Item],
    repetitions: int,
    sampling: Sampling,
    journal: Journal,
    progress: Progress,
    *,
    plain: bool = False,
) -> list[Response]:
    """Draw every response that the journal does not hold yet; return all of them in the order of the plan.

    A finished batch is journaled before the next is begun. Batches that hold a failed row are tried again on resume. With
    ``plain`` every item's one message is continued as it is, without a chat template.
    """
    done = journal.read()
    responses: list[Response] = []
    try:
        for configuration in configurations:
            requests = requests_for(configuration, items, repetitions, plain=plain)
            plan = configuration.engine.plan(requests, sampling)
            key_of = {batch.key: f"{configuration.label}\x1f{batch.key}" for batch in plan}
            finished = {
                batch.key: done[key_of[batch.key]]
                for batch in plan
                if key_of[batch.key] in done and all(row.finish_reason != "error" for row in done[key_of[batch.key]])
            }
            open_batches = [batch for batch in plan if batch.key not in finished]
            count, total = sum(map(len, finished.values())), len(requests)
            progress(configuration.label, count, total)
            answered, failed = bool(finished), 0
            for batch, rows in configuration.engine.generate(open_batches, sampling, config=configuration.label):
                journal.append(key_of[batch.key], rows)
                bad = [row for row in rows if row.finish_reason == "error"]
                answered, failed = answered or len(bad) < len(rows), failed + len(bad)
                if not answered and failed >= GIVE_UP:
                    raise EngineError(
                        f"{configuration.label}: the first {failed} responses all failed, the last with: {bad[-1].error}. "
                        "Mend the cause and continue with --resume."
                    )
                finished[batch.key] = rows
                count += len(rows)
                progress(configuration.label, count, total)
            responses += [row for batch in plan for row in finished[batch.key]]
    finally:
        journal.close()
    return responses
