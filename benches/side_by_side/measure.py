"""Runs commands in turn (A B C A B C …) and compares what they cost.

CPU seconds of the whole process tree are the figure. Wall time is shown for its minimum only: on a machine that
other work shares, it proves little. Every command must give the same answer, or the comparison is refused.
"""

import os
import statistics
import subprocess
import time


def run(command, env=None):
    """Runs one command: (CPU seconds, wall seconds, peak resident MiB, stdout)."""
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
    out = process.stdout.read()
    errors = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    wall = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    # A reader that found problems may say so by its exit status; one that could not read says it on stderr.
    if process.returncode not in (0, 1):
        raise SystemExit("%s: exit %d\n%s" % (command[0], process.returncode, errors.decode(errors="replace")))
    return used.ru_utime + used.ru_stime, wall, used.ru_maxrss / 1024, out.decode()


def compare(title, commands, rounds, size, base, answer):
    """`commands` is a list of (name, argument list); `answer` turns a stdout into what must be equal."""
    results = {name: [] for name, _ in commands}
    expected = None
    for _ in range(rounds):
        for name, command in commands:
            cpu, wall, peak, out = run(command)
            results[name].append((cpu, wall, peak))
            said = answer(out)
            if said is None:
                continue
            if expected is None:
                expected = (name, said)
            elif said != expected[1]:
                raise SystemExit("%s: %s says %s, %s said %s" % (title, name, said, *expected))
    mid = {name: statistics.median(cpu for cpu, _, _ in rows) for name, rows in results.items()}
    print("\n### %s: %.0f MB, %d rounds\n" % (title, size / 1e6, rounds))
    print("| | CPU s, median | least | MB/s | times faster than %s | wall s, least | peak MiB |" % base)
    print("|---|---|---|---|---|---|---|")
    for name, rows in results.items():
        print(
            "| %s | %.3f | %.3f | %.0f | %.2f | %.3f | %.0f |"
            % (name, mid[name], min(r[0] for r in rows), size / 1e6 / mid[name], mid[base] / mid[name], min(r[1] for r in rows), max(r[2] for r in rows))
        )
    print("\nAll say: %s" % (expected[1] if expected else "nothing"), flush=True)
    return mid
