"""Running units of work, one after the other or in worker processes, with the same results.

Every computation has one thread, in a worker process or in this one. That keeps results identical
bit for bit, and for small networks several processes beat several threads.
"""

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

import torch

from autos.errors import LostWorkerError, Stopped
from autos.work.units import Chain, Unit


def run(chains: Sequence[Chain], *, workers: int) -> Iterator[tuple[Unit, bool]]:
    """Compute all units that are not done yet.

    Args:
        chains: Units to compute; chains go side by side, and the units of a chain in its order.
        workers: Number of worker processes; 1 computes in this process.

    Yields:
        Each unit as soon as it is done, and whether it was done before.

    Raises:
        UserError: A unit failed; the units that are finished stay.
        LostWorkerError: The system ended a worker process.
    """
    if workers == 1:
        _prepare_process()
        for unit in (unit for chain in chains for unit in chain):
            reused = unit.done()
            if not reused:
                unit.compute()
            yield unit, reused
        return
    pool = ProcessPoolExecutor(
        workers, multiprocessing.get_context("forkserver"), initializer=_prepare_worker
    )
    wait_for_running = True
    try:
        ready = deque(iter(chain) for chain in chains)
        running: dict[Future[None], tuple[Unit, Iterator[Unit]]] = {}
        while ready or running:
            while ready:
                chain = ready.popleft()
                for unit in chain:
                    if not unit.done():
                        running[pool.submit(unit.compute)] = unit, chain
                        break
                    yield unit, True
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                unit, chain = running.pop(future)
                future.result()
                yield unit, False
                ready.append(chain)
    except (KeyboardInterrupt, Stopped):
        wait_for_running = False
        raise
    except BrokenProcessPool:
        raise LostWorkerError(
            "a worker process ended in the middle of its work; the system kills one when memory "
            "runs out"
        ) from None
    finally:
        pool.shutdown(wait_for_running, cancel_futures=True)


def _prepare_process() -> None:
    torch.set_num_threads(1)


def _prepare_worker() -> None:
    _prepare_process()
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        parent.join()
        os._exit(1)

    # A process that is killed cannot stop its workers; without this they would wait for ever.
    threading.Thread(target=end_with_parent, daemon=True).start()
