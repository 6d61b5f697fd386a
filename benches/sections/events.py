"""The cost of an event in the kernel, by its own run-time statistics.

Nanoseconds per run of the program; the cost of the empty program of the same tracer and probe
type, measured in the same run, is subtracted. Instructions are those of the program as the
kernel verified it, its subprograms included: what it has, not what runs.
"""
import os
import re

import harness
from harness import IDEAL, Failed, Live, ProgInfo

TP = 'tracepoint:raw_syscalls:sys_enter'
EXIT = 'tracepoint:raw_syscalls:sys_exit'
HIST = '/@s[tid]/ { @us = hist((nsecs - @s[tid])/1000); delete(@s[tid]); }'
IFS = ' else '.join(f'if (args.id == {n}) {{ @{chr(97 + i)} = count(); }}' for i, n in enumerate((0, 1, 3, 5, 8, 9, 16, 39, 102, 110)))
STRUCTS = 'struct array16 { int a[16]; } struct node { struct node *next; long value; } '

# What it is, the generator's mode, the program, the hand-written ones, the part of the events, the programs.
EMPTY_TP = ('empty, tracepoint', 'sys', TP + ' { }', 'tp_empty', 1, 1)
EMPTY_UP = ('empty, uprobe', 'int', 'uprobe:{GEN}:fn_int { }', 'up_empty@{GEN}:fn_int', 1, 1)
EVENTS = [
    ('scalar count', 'sys', TP + ' { @ = count(); }', 'tp_count', 1, 1),
    ('count by comm', 'sys', TP + ' { @[comm] = count(); }', 'tp_comm', 1, 1),
    ('count by (pid, id)', 'sys', TP + ' { @[pid, args.id] = count(); }', 'tp_pidid', 1, 1),
    ('hist(args.id)', 'sys', TP + ' { @ = hist(args.id); }', 'tp_hist', 1, 1),
    ('latency pair: start, hist, delete', 'sys', TP + ' { @s[tid] = nsecs; } ' + EXIT + ' ' + HIST, 'tp_enterhash tp_exithash', 1, 2),
    ('count by ustack', 'deep', 'uprobe:{GEN}:fn_deep { @[ustack] = count(); }', 'up_stackid@{GEN}:fn_deep', 0.25, 1),
    ('sum(arg0)', 'int', 'uprobe:{GEN}:fn_int { @ = sum(arg0); }', 'up_sum@{GEN}:fn_int', 1, 1),
    ('a filter that rejects', 'sys', TP + ' /pid == 1/ { @ = count(); }', 'tp_filter', 1, 1),
    ('@[str(arg0)]', 'str', 'uprobe:{GEN}:fn_str { @[str(arg0)] = count(); }', 'up_str@{GEN}:fn_str', 0.5, 1),
    ('comm == "..."', 'sys', TP + ' /comm == "gen"/ { @ = count(); }', 'tp_commeq', 1, 1),
    ('strcontains(str(arg0), "...")', 'str', 'uprobe:{GEN}:fn_str /strcontains(str(arg0), "delta")/ { @ = count(); }', None, 0.25, 1),
    ('10-way if chain', 'sys', TP + ' { ' + IFS + ' }', 'tp_chain', 1, 1),
    ('sum of 16 array elements', 'array', STRUCTS + 'uprobe:{GEN}:fn_array { $p = (struct array16 *)arg0; $s = (int64)0; '
     '$i = (uint64)0; while ($i < 16) { $s += $p->a[$i]; $i++; } @ = sum($s); }', 'up_array@{GEN}:fn_array', 0.5, 1),
    ('struct walk of four pointers', 'chain', STRUCTS + 'uprobe:{GEN}:fn_chain { @ = sum(((struct node *)arg0)->next->next->next->value); }',
     'up_walk@{GEN}:fn_chain', 0.5, 1),
    ('printf of three fields', 'int', 'uprobe:{GEN}:fn_int { printf("%d %s %d\\n", pid, comm, arg0); }', 'up_printf@{GEN}:fn_int', 0.5, 1),
    ('stats(args.id) by comm', 'sys', TP + ' { @[comm] = stats(args.id); }', 'tp_stats', 1, 1),
    ('@last[tid] = args.id', 'sys', TP + ' { @last[tid] = args.id; }', 'tp_lasthash', 1, 1),
]


def one(h, name, command, event, cpu):
    """(nanoseconds per event, instructions): the least of three rounds of events in one run of the tracer."""
    title, mode, program, ideal, part, programs = event
    n = int((100_000 if h.quick else 400_000) * part)
    generator = harness.WORK + '/gen'
    if name == IDEAL:
        argv = [ideal.replace('{GEN}', generator)]
    else:
        # Without the timer that wakes it up: another tracer's programs must not run meanwhile.
        argv = ['-e', harness.dialect(command, program.replace('{GEN}', generator))]
    harness.statistics_on(True)
    try:
        with Live(command, argv) as live:
            live.wait_for(lambda: len(live.programs()) >= programs)
            if mode == 'sys':
                # Attached when the programs run.
                live.wait_for(lambda: sum(ProgInfo(i).runs > 0 for i in live.programs()) >= programs)
            else:
                harness.generate(mode, 100, '-w', 20)
            best = None
            for _ in range(3):
                before = {i: ProgInfo(i) for i in live.programs()}
                harness.generate(mode, n, '-c', cpu)
                after = {i: ProgInfo(i) for i in before}
                ran = [i for i in after if after[i].runs - before[i].runs >= n // 2]
                if len(ran) < programs:
                    raise Failed(f'{title}: {len(ran)} of {programs} programs ran')
                nanoseconds = sum((after[i].nanoseconds - before[i].nanoseconds) / (after[i].runs - before[i].runs) for i in ran)
                best = min(best or nanoseconds, nanoseconds)
            return best, sum(after[i].instructions for i in ran)
    finally:
        harness.statistics_on(False)


def run(h):
    harness.build_generator()
    tracers = dict(h.tracers)
    ideal = harness.build_ideal()
    if ideal:
        tracers[IDEAL] = ideal
    cpu = os.cpu_count() - 1
    with open(harness.STATS) as f:
        was = f.read().strip() == '1'
    rounds = 1 if h.quick else 5

    def measure(event):
        names = {id(c): n for n, c in tracers.items()}
        with_ideal = {n: c for n, c in tracers.items() if n != IDEAL or event[3]}
        return h.turns(lambda c: one(h, names[id(c)], c, event, cpu), rounds, with_ideal, warm=False)

    try:
        empty = {}
        for event in (EMPTY_TP, EMPTY_UP):
            seen = measure(event)
            empty[event[1]] = {n: min(r[0] for r in rows) for n, rows in seen.items()}
            h.row(event[0], 'ns', {n: [r[0] for r in rows] for n, rows in seen.items()})
        for event in EVENTS:
            if not re.search(h.only, event[0]):
                continue
            base = empty['sys' if event[1] == 'sys' else 'int']
            seen = measure(event)
            net = {n: [max(r[0] - event[5] * base[n], 0.0) for r in rows] for n, rows in seen.items() if n in base}
            # Below 5 ns the statistics' own jitter is all there is.
            h.row(event[0], 'ns', net, target=0.5, ideal=1.3, noise=5)
            h.row(event[0], 'instructions', {n: [r[1] for r in rows] for n, rows in seen.items()}, target=1)
    finally:
        harness.statistics_on(was)
