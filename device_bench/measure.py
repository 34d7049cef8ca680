"""Measures one phone: check each variant's outputs, then blocks in shuffled rounds.

Work is a queue of steps; a step that ends is stored and never repeated. A lost phone is
connected again and goes on with the step that it was lost in, at most ``MAX_RETRIES`` times;
what the model itself does wrong is never retried.
"""

import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import assert_never, final

from android_harness.errors import (
    CommandTimeout,
    FailureKind,
    HarnessError,
    ModelRejected,
    RunnerOutputError,
    TransportError,
)
from android_harness.parse.runner import RunnerReport
from android_harness.phone import Phone
from android_harness.runner.bundle import Bundle, host_abi
from android_harness.runner.options import RunnerOptions
from android_harness.session import Session
from android_harness.transport.seam import Transport
from device_bench.check import check_outputs
from device_bench.gate import wait_until_calm
from device_bench.matrix import order_blocks
from device_bench.record import Block, Check, Failure, PhoneVisit, Protocol, Run, State
from device_bench.snapshot import snapshot
from device_bench.store import Store
from pipeline.artifact import Artifact, sha256_of

MAX_RETRIES = 2
RECONNECT_PAUSE_S = 2.0
# A block is ended when it takes longer than what was asked plus this: load, init, slow storage.
BLOCK_MARGIN_S = 120.0
# An emulated processor needs seconds for an inference that takes a phone milliseconds.
CHECK_S = 1800.0
# What an emulated phone is given to compute for one variant. On two cores float runs at about 30
# million multiplications a second (every float operation is done in software), int8 at ten times
# that, so either takes some 15 s.
EMULATED_MACS = {"float32": 4e8, "float16": 4e8}
EMULATED_MACS_INTEGER = 5e9


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class CheckStep:
    """Run the whole test set once, untimed, and judge the outputs."""

    run: str


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class BlockStep:
    """One fresh, timed runner process."""

    run: str
    number: int
    position: int


Step = CheckStep | BlockStep


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Something a person watching wants to know."""

    serial: str
    text: str
    done: int
    total: int


Tell = Callable[[Told], None]


@final
class PhoneBench:
    """One phone's part of a bench, from the store's open runs to none."""

    def __init__(
        self,
        *,
        connect: Callable[[], Transport],
        visit: PhoneVisit,
        runs: Sequence[Run],
        bundle: Bundle,
        protocol: Protocol,
        store: Store,
        tell: Tell,
        stop: Event,
    ) -> None:
        self._connect, self._visit, self._bundle = connect, visit, bundle
        self._runs = {run.name: run for run in runs}
        self._protocol, self._store, self._tell = protocol, store, tell
        self._stop = stop
        self._steps = deque(self._open_steps())
        self._total = self._done = 0
        self._attempts: Counter[Step] = Counter()
        self._times_latency = visit.identity.fidelity.time_is_latency

    def perform(self) -> None:
        """Do every open step, as far as the phone lets us; failures are stored, not raised.

        Raises:
            KeyboardInterrupt: the phone was left clean and what was finished is stored.
        """
        self._total = len(self._steps)
        for run in list(self._runs.values()):  # killed after its last block, before it was closed
            if run.status == "open" and run.check is not None:
                self._close_if_finished(run.name)
        losses = 0
        while self._steps and not self._stop.is_set():
            try:
                self._visit_once()
            except TransportError as exc:
                losses += 1
                if losses > MAX_RETRIES or not exc.retryable:
                    self._give_up(exc)
                    return
                self._note_visit(exc, retried=True)
                self._say(f"connection lost ({exc}); trying again")
                time.sleep(RECONNECT_PAUSE_S * losses)
            except HarnessError as exc:
                self._give_up(exc)
                return

    def _open_steps(self) -> list[Step]:
        waiting = [run for run in self._runs.values() if run.status in ("open", "not run")]
        checks: list[Step] = [CheckStep(run=run.name) for run in waiting if run.check is None]
        if not self._visit.identity.fidelity.time_is_latency:
            return checks
        stored = {
            (block.run, block.number)
            for block in self._store.blocks(self._visit.bench, self._visit.serial)
        }
        order = order_blocks(tuple(self._runs), self._protocol.blocks, self._protocol.seed)
        names = {run.name for run in waiting}
        blocks = [
            BlockStep(run=call.run, number=call.number, position=call.position)
            for call in order
            if call.run in names and (call.run, call.number) not in stored
        ]
        return [*checks, *blocks]

    def _visit_once(self) -> None:
        """One connection, one session: do steps until none is left."""
        with self._connect() as transport:
            phone = Phone(transport)
            with Session(phone, self._visit.bench) as session:
                self._say("pushing the runner")
                session.install(self._bundle)
                if self._visit.state_before is None:
                    self._update(state_before=snapshot(phone))
                while self._steps and not self._stop.is_set():
                    self._attempt(self._steps[0], phone, session)
                self._update(state_after=snapshot(phone))

    def _attempt(self, step: Step, phone: Phone, session: Session) -> None:
        self._attempts[step] += 1
        try:
            self._do(step, phone, session)
        except CommandTimeout as exc:  # the connection is sound: the runner itself did not end
            self._step_failed(step, exc)
        except TransportError as exc:
            self._note_run(step.run, exc, retried=True)
            raise
        except HarnessError as exc:
            self._step_failed(step, exc)
        else:
            self._steps.popleft()
            self._done += 1
            self._close_if_finished(step.run)
            self._say(_words(step))

    def _step_failed(self, step: Step, exc: HarnessError) -> None:
        again = exc.retryable and self._attempts[step] <= MAX_RETRIES
        self._note_run(step.run, exc, retried=again)
        if again:
            return
        left = [other for other in self._steps if other.run != step.run]
        self._done += len(self._steps) - len(left)
        self._steps = deque(left)
        self._change(step.run, status="failed")
        self._say(f"{step.run} failed: {exc}")

    def _do(self, step: Step, phone: Phone, session: Session) -> None:
        match step:
            case CheckStep():
                self._check(step, session)
            case BlockStep():
                self._block(step, phone, session)
            case _:
                assert_never(step)

    def _check(self, step: CheckStep, session: Session) -> None:
        artifact = self._runs[step.run].artifact
        self._say(f"checking {step.run}")
        model = session.put(artifact.model_path, artifact.sha256)
        samples = self._samples(step.run)
        with tempfile.TemporaryDirectory(prefix="deploy-bench-") as folder:
            inputs = Path(folder) / "inputs.bin"
            whole = artifact.path(artifact.test.inputs_file).read_bytes()
            inputs.write_bytes(whole[: samples * artifact.input.bytes])
            remote = session.put(inputs, sha256_of(inputs))
            options = RunnerOptions(
                threads=self._runs[step.run].threads,
                warmup_count=0,
                warmup_s=0.0,
                min_runs=1,
                min_s=0.0,
                max_runs=1,
                input_path=remote.path,
                output_path=session.remote("outputs.bin"),
            )
            session.run(model, options, timeout_s=CHECK_S)
            outputs = Path(folder) / "outputs.bin"
            session.fetch("outputs.bin", outputs, samples * artifact.output.bytes)
            check = _checked(artifact, outputs, samples, session, self._bundle)
        self._change(step.run, check=check, pushed_bytes=model.bytes, push_skipped=model.skipped)

    def _samples(self, run: str) -> int:
        """The whole test set; on an emulated processor as much of it as can be waited for."""
        artifact = self._runs[run].artifact
        if self._times_latency:
            return artifact.test.samples
        budget = EMULATED_MACS.get(artifact.format, EMULATED_MACS_INTEGER)
        affordable = int(budget / max(artifact.macs or 1e9, 1))
        return max(2, min(artifact.test.samples, affordable))

    def _block(self, step: BlockStep, phone: Phone, session: Session) -> None:
        run, protocol = self._runs[step.run], self._protocol
        model = session.put(run.artifact.model_path, run.artifact.sha256)
        before, flags = wait_until_calm(phone, protocol.gate_s, self._say)
        started = datetime.now(UTC).isoformat(timespec="milliseconds")
        options = RunnerOptions(
            threads=run.threads,
            warmup_count=protocol.warmup_count,
            warmup_s=protocol.warmup_s,
            min_runs=protocol.min_runs,
            min_s=protocol.min_s,
            max_runs=protocol.max_runs,
        )
        longest = 2 * options.max_s + BLOCK_MARGIN_S
        ran = session.run(model, options, timeout_s=longest)
        _prove(phone, ran.report, self._bundle, run.threads)
        self._store.save(
            Block(
                bench=self._visit.bench,
                serial=self._visit.serial,
                run=step.run,
                number=step.number,
                position=step.position,
                started_at_utc=started,
                runner=ran.raw,
                state_before=before,
                state_after=snapshot(phone),
                flags=(*flags, *_contaminations(ran.report)),
            )
        )

    def _close_if_finished(self, run: str) -> None:
        if not any(step.run == run for step in self._steps):
            self._change(run, status="ok")

    def _give_up(self, exc: HarnessError) -> None:
        """The phone cannot go on: what it did not do is a hole with a reason."""
        self._note_visit(exc, retried=False)
        for run in {step.run for step in self._steps}:
            self._note_run(run, exc, retried=False)
            self._change(run, status="not run")
        self._steps.clear()
        self._say(f"gave up: {exc}")

    def _note_run(self, run: str, exc: HarnessError, *, retried: bool) -> None:
        failures = (*self._runs[run].failures, _failure(exc, retried=retried))
        self._change(run, failures=failures)

    def _note_visit(self, exc: HarnessError, *, retried: bool) -> None:
        self._update(failures=(*self._visit.failures, _failure(exc, retried=retried)))

    def _change(self, run: str, **fields: object) -> None:
        self._runs[run] = self._runs[run].model_copy(update=fields)
        self._store.save(self._runs[run])

    def _update(self, **fields: State | tuple[Failure, ...]) -> None:
        self._visit = self._visit.model_copy(update=fields)
        self._store.save(self._visit)

    def _say(self, text: str) -> None:
        self._tell(Told(serial=self._visit.serial, text=text, done=self._done, total=self._total))


def _checked(
    artifact: Artifact, outputs: Path, samples: int, session: Session, bundle: Bundle
) -> Check:
    try:
        like_host = bundle.abi == host_abi()
        return check_outputs(artifact, outputs, samples, like_host=like_host)
    except ValueError as exc:
        raise RunnerOutputError(session.phone.transport.endpoint, str(exc), "") from exc


def _prove(phone: Phone, report: RunnerReport, bundle: Bundle, threads: int) -> None:
    """Refuse a number of another engine, thread count or accelerator than was asked for."""
    endpoint = phone.transport.endpoint
    if report.engine.sha256 != bundle.engine_sha256:
        raise ModelRejected(endpoint, "proof", f"another engine ran: {report.engine.sha256}")
    if report.threads != threads:
        raise ModelRejected(endpoint, "proof", f"{report.threads} threads, not {threads}")


def _contaminations(report: RunnerReport) -> tuple[str, ...]:
    """Signs, seen by the runner itself, that something else ran on the phone."""
    flags = []
    if report.threads == 1 and report.cpu_per_wall < 0.95:
        flags.append(f"waited for a CPU {100 * (1 - report.cpu_per_wall):.0f} % of the time")
    return tuple(flags)


def _failure(exc: HarnessError, *, retried: bool) -> Failure:
    return Failure(kind=FailureKind(exc.kind), message=str(exc), retried=retried)


def _words(step: Step) -> str:
    match step:
        case CheckStep():
            return f"checked {step.run}"
        case BlockStep():
            return f"{step.run}, block {step.number + 1}"
