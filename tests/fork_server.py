"""Runs the coroutine function ``main`` of a program again and again, each time in a process of its own that is made by
a fork: what takes long, starting Python and importing, is done once. ``conftest.ForkServer`` is the other end.

Argument: the program's path. Standard input brings a line of JSON per wish: a list starts ``main`` with these
arguments, null kills what was started. Standard output carries what ``main`` prints, ``over`` when it comes to its end
by itself, and ``dead`` after a kill.
"""

import asyncio
import json
import os
import runpy
import signal
import sys
import threading
import traceback

# A line is written whole or not at all, whenever its process is killed (and PYTHONUNBUFFERED may say otherwise).
sys.stdout.reconfigure(write_through=False)
program = runpy.run_path(sys.argv[1], run_name="forked")
assert threading.active_count() == 1, "a program that imports a thread cannot be forked"
child = 0
for line in sys.stdin:
    arguments = json.loads(line)
    if arguments is None:
        # A child that has ended keeps its number until we ask for it: the signal reaches no other process.
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        print("dead", flush=True)
        continue
    child = os.fork()
    if child == 0:
        try:
            asyncio.run(program["main"](*arguments))
        except BaseException:
            traceback.print_exc()
            raise
        finally:
            print("over", flush=True)
            os._exit(0)
