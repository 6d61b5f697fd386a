"""Events to user space: printf of three fields, a million of them as fast as threads make them, into a file."""
import os
import re
import time

import harness
from harness import Failed, Live

PROGRAM = 'uprobe:%s:fn_int { printf("%%d %%s %%d\\n", pid, comm, arg0); }'


def one(h, command, threads, events):
    """(lines, lost and not told, processor seconds, memory in MB, events per second)"""
    with Live(command, ['-e', PROGRAM % (harness.WORK + '/gen')]) as live:
        live.wait_for(lambda: live.programs())
        harness.generate('int', 10, '-w', 20)
        time.sleep(0.2)
        before, cpu = os.path.getsize(live.out.name), live.cpu()
        made = harness.generate('int', events, '-t', threads)
        # All is written when the file has not grown for half a second.
        size, since = -1, time.monotonic()
        while time.monotonic() - since < 0.5:
            now = os.path.getsize(live.out.name)
            if now != size:
                size, since = now, time.monotonic()
            time.sleep(0.02)
        seconds, memory = live.cpu() - cpu, live.memory_mb()
        live.stop()
        with open(live.out.name, 'rb') as f:
            f.seek(before)
            text = f.read()
        lines = len(re.findall(rb'^%d gen \d+$' % made['pid'], text, flags=re.M))
        both = live.text()
        lost = sum(int(a or b) for a, b in re.findall(r'[Ll]ost (\d+) events|(\d+) events? (?:were|was) lost', both))
    if not lines:
        raise Failed('nothing was printed: ' + both[-200:])
    return lines, events - lines - lost, seconds, memory, events / made['seconds']


def run(h):
    harness.build_generator()
    events = 250_000 if h.quick else 1_000_000
    runs = 1 if h.quick else max(3, h.runs // 7)
    for threads in (1, 4):
        seen = h.turns(lambda c: one(h, c, threads, events), runs, warm=False)
        title = f'printf of three fields, {threads} thread{"s" * (threads > 1)}'
        h.row(title, 'events/s', {n: [r[4] for r in rows] for n, rows in seen.items()})
        h.row(title, '% lost', {n: [100 * (events - r[0]) / events for r in rows] for n, rows in seen.items()}, most=0)
        h.row(title, 'lost and not told', {n: [r[1] for r in rows] for n, rows in seen.items()}, most=0)
        h.row(title, 'CPU us a line', {n: [1e6 * r[2] / r[0] for r in rows] for n, rows in seen.items()}, target=0.2)
        h.row(title, 'MB', {n: [r[3] for r in rows] for n, rows in seen.items()})
