"""Python runs this at the start of every process that has this folder on its PYTHONPATH.

Daemons in a soak tell how many asyncio tasks they have, every two seconds, in a file `tasks.PID` of the folder
USP_SOAK_TASKS.
"""

import asyncio.tasks as tasks
import os
import sys
import threading
import time

PAUSE = 2.0
ANY = "_all_tasks" if hasattr(tasks, "_all_tasks") else "_scheduled_tasks"  # until 3.11, and from 3.12 on


def tell(file: int) -> None:
    while True:
        try:
            living = sum(not task.done() for task in list(getattr(tasks, ANY)))
        except RuntimeError:  # the set changed meanwhile
            continue
        os.pwrite(file, b"%-8d" % living, 0)
        time.sleep(PAUSE)


folder = os.environ.get("USP_SOAK_TASKS")
if folder and "-m" in sys.orig_argv and any(word.startswith("usp.") for word in sys.orig_argv):
    opened = os.open(f"{folder}/tasks.{os.getpid()}", os.O_WRONLY | os.O_CREAT, 0o600)
    threading.Thread(target=tell, args=(opened,), daemon=True).start()
