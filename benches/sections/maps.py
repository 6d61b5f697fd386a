"""Maps of 100,000 keys: print and clear, and what an interval that prints costs those who fill it."""
import re
import time

import harness
from harness import Failed, Live

KEYS = 100_000
SETUP = 'config = { max_map_keys = 200000; } '
# Its last line is there when everything before it is.
PRINT = SETUP + 'uprobe:%s:fn_int { @[arg0] = count(); } uprobe:%s:fn_mark { print(@); clear(@); printf("done\\n"); }'


def spelled(command, program):
    """The older bpftrace takes the number of keys from the environment."""
    old = harness.dialect(command, 'args.x') != 'args.x'
    return program.replace(SETUP, '') if old else program


def print_and_clear(command):
    """(seconds from the last event to the end of the output, lines)"""
    generator = harness.WORK + '/gen'
    env = {'BPFTRACE_MAP_KEYS_MAX': '200000', 'PATH': '/usr/sbin:/usr/bin:/sbin:/bin'}
    with Live(command, ['-e', spelled(command, PRINT % (generator, generator))], env) as live:
        live.wait_for(lambda: len(live.programs()) >= 2)
        harness.generate('int', 10, '-w', 20)
        time.sleep(0.3)
        harness.generate('keys', KEYS)
        t0 = time.monotonic()
        end = t0 + 60
        at = 0
        tail = b''
        with open(live.out.name, 'rb') as f:
            while b'done\n' not in tail:
                if time.monotonic() > end or live.ended():
                    raise Failed('the map was not printed in time')
                f.seek(at)
                more = f.read()
                at += len(more)
                tail = (tail + more)[-16:] if more else tail
                time.sleep(0.001)
        seconds = time.monotonic() - t0
        lines = len(re.findall(r'^@\[\d+\]: 1$', live.text(), flags=re.M))
    if lines < KEYS - 10:
        raise Failed(f'{lines} of {KEYS} keys were printed')
    return seconds, lines


def run(h):
    harness.build_generator()
    seen = h.turns(print_and_clear, 1 if h.quick else h.few(), warm=False)
    h.row('print and clear of 100,000 keys', 'ms', {n: [r[0] * 1e3 for r in rows] for n, rows in seen.items()}, target=0.2)
