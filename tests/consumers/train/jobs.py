"""Runs jobs of one oracle in its trainer's environment: the trainer is imported once, each job is a process of its own.

Usage: jobs.py MODULE JOBS.json

JOBS.json is a list of {"dir", "arguments", "log"}: MODULE.main(*arguments) runs in the directory, its output goes to the log. A job
that fails leaves its message at the end of the log; the list of the exit codes is printed as JSON.
"""

import importlib
import json
import os
import sys
import traceback

AT_ONCE = 2


def start(module, job):
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.chdir(job["dir"])
        log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        module.main(*job["arguments"])
        code = 0
    except SystemExit as error:
        print(error, flush=True)
        code = 0 if error.code in (0, None) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main(name, path):
    module = importlib.import_module(name)
    with open(path) as file:
        jobs = json.load(file)
    codes, running = [None] * len(jobs), {}
    for index, job in enumerate(jobs):
        running[start(module, job)] = index
        while running and (len(running) == AT_ONCE or index == len(jobs) - 1):
            pid, status = os.wait()
            codes[running.pop(pid)] = os.waitstatus_to_exitcode(status)
    print(json.dumps(codes))


if __name__ == "__main__":
    main(*sys.argv[1:])
