"""Functions of a large C++ program by their readable names: `-l` with a pattern, start to exit.

`cold` starts without the names that rtrace keeps from earlier runs, `warm` with them; bpftrace keeps none.
benches/symbols does the same with any program and pattern.
"""
import os
import shutil
import subprocess
import sys
import tempfile
import time

import harness
from harness import NEWEST, OURS, Failed

PATTERN = '*Socket*Listen*'


def listed(command, path, env):
    """(seconds of one listing, lines)"""
    t0 = time.monotonic()
    done = subprocess.run(command + ['-l', f'uprobe:{path}:{PATTERN}'], stdin=subprocess.DEVNULL, capture_output=True, env=env, timeout=120)
    seconds = time.monotonic() - t0
    if not done.stdout.strip():
        raise Failed('nothing was listed: ' + done.stderr.decode(errors='replace')[-200:])
    return seconds, done.stdout.count(b'\n')


def run(h):
    node = shutil.which('node')
    if not node:
        print('no node here: nothing to look names up in', file=sys.stderr)
        return
    # Where the newest bpftrace sees it, too.
    path = harness.WORK + '/node'
    if not os.path.exists(path):
        shutil.copyfile(os.path.realpath(node), path)
        os.chmod(path, 0o755)
    runs = 3 if h.quick else 11
    ours = h.tracers[OURS]
    cold, warm = [], []
    with tempfile.TemporaryDirectory(prefix='names-', dir=harness.WORK) as kept:
        env = dict(os.environ, RTRACE_CACHE=kept)
        for _ in range(runs):
            shutil.rmtree(kept, ignore_errors=True)
            os.makedirs(kept)
            cold.append(listed(ours, path, env))
            warm.append(listed(ours, path, env))
    peer = {}
    if NEWEST in h.tracers:
        seen = h.turns(lambda c: listed(c, path, dict(os.environ)), 1 if h.quick else 3, {NEWEST: h.tracers[NEWEST]}, warm=False)
        peer = {n: [r[0] * 1e3 for r in rows] for n, rows in seen.items()}
    title = f'-l {PATTERN} of node'
    h.row(title + ', cold', 'ms', {OURS: [r[0] * 1e3 for r in cold], **peer}, most=400)
    h.row(title + ', warm', 'ms', {OURS: [r[0] * 1e3 for r in warm], **peer}, most=30)
