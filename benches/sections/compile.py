"""Compile time by the size of the script: text to BPF, nothing loaded. Processor time, which other work disturbs less."""
import os
import subprocess

import harness
from harness import OURS, Failed

SIZES = [100, 1000, 10_000, 50_000]

# Ten lines, one probe.
PROBE = '''tracepoint:raw_syscalls:sys_enter
/args.id == {n}/
{{
    $v = args.id * {n} + pid;
    if ($v > {n}) {{
        @count{m}[comm, $v] = count();
    }}
    @last{m} = $v;
    @hist{m}[tid] = hist($v);
}}
'''


def run(h):
    name = harness.WORK + '/generated.bt'

    def one(lines):
        with open(name, 'w') as f:
            f.write('config = { max_probes = 100000; max_bpf_progs = 100000 }\n')
            f.writelines(PROBE.format(n=n, m=n % 50) for n in range(lines // 10))
        times = []
        for _ in range(1 if lines > 10_000 else 3):
            p = subprocess.Popen(h.tracers[OURS] + ['check', name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            _, status, usage = os.wait4(p.pid, 0)
            p.returncode = os.waitstatus_to_exitcode(status)
            if p.returncode:
                raise Failed(f'{lines} lines do not compile')
            times.append(usage.ru_utime + usage.ru_stime)
        return min(times)

    seconds = {lines: one(lines) for lines in SIZES}
    for lines in SIZES:
        h.row(f'compile {lines:,} lines', 'CPU ms', {OURS: [seconds[lines] * 1e3]})
    # What starting costs says nothing of growth.
    per_line = {lines: (seconds[lines] - seconds[100]) / (lines - 100) for lines in SIZES[1:]}
    h.row('compile: a line of 50,000 over a line of 1,000', 'times', {OURS: [per_line[50_000] / per_line[1000]]}, most=2)
