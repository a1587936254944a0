"""Large pictures are decoded apart: with the same result, at no cost to others, and not beyond the server's end."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
from concurrent.futures import BrokenExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hostile import encoded, picture

from serve.app.fair_queue import FairQueue
from serve.app.uploads.decoder import NICENESS, decoder_process
from serve.app.uploads.pictures import PictureError, decode

REPOSITORY = Path(__file__).parents[3]


def test_pictures_errors_and_crashes_stay_with_the_client_whose_they_are() -> None:
    content = encoded(picture(np.random.default_rng(0)), "WEBP")

    async def serve() -> tuple[np.ndarray, int, np.ndarray]:
        queue = FairQueue(decoder_process)
        first = await queue.run("ann", partial(decode, content, 32))
        with pytest.raises(PictureError, match="damaged or incomplete"):
            await queue.run("bob", partial(decode, content[:-20], 32))
        niceness = await queue.run("ann", partial(os.nice, 0))
        with pytest.raises(BrokenExecutor):
            await queue.run("hostile", partial(os._exit, 1))
        second = await queue.run("ann", partial(decode, content, 32))
        queue.worker.shutdown()
        return first, niceness, second

    first, niceness, second = asyncio.run(serve())
    assert np.array_equal(first, decode(content, 32))
    assert np.array_equal(second, first)
    assert niceness == NICENESS


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="waiting for a process of somebody else needs Linux")
def test_the_process_ends_with_the_server_even_where_that_is_killed() -> None:
    code = (
        "import os, sys\n"
        "from serve.app.uploads.decoder import decoder_process\n"
        "if __name__ == '__main__':\n"
        "    print(decoder_process().submit(os.getpid).result(), flush=True)\n"
        "    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        decoder = os.pidfd_open(int(server.stdout.readline()))
        server.send_signal(signal.SIGKILL)
        assert select.select([decoder], [], [], 60)[0] == [decoder]  # it has ended
        os.close(decoder)
