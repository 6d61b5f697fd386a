"""Many attach points: start to attached, and from Ctrl-C to the shell's prompt.

The processor time and the memory of the peers grow with the attach points too; these rows say what a user waits.
"""
import harness

# Functions of the generated program. One link of the kernel takes them all where nothing asks which of them it was.
MANY = 20_000
# As many as are told apart by name: the newest bpftrace makes a program of each, and takes a tenth of a second to detach it.
APART = 100
LIMITS = 'config = { max_probes = 100000; max_bpf_progs = 100000 } '


def functions(n, prefix):
    return ''.join(f'__attribute__((noinline)) void {prefix}{i}(void) {{ __asm__ volatile("" ::: "memory"); }}\n' for i in range(n))


def run(h):
    program = harness.build('many', functions(MANY, 'many_') + functions(APART, 'apart_') + 'int main(void) { return 0; }\n', flags=('-O0',))
    cases = [
        (f'{MANY:,} uprobes by wildcard', f'uprobe:{program}:many_* {{ @ = count(); }}', 0.5),
        (f'{APART} uprobes, @[probe]', f'uprobe:{program}:apart_* {{ @[probe] = count(); }}', 0.5),
        ('all of tracepoint:syscalls:sys_enter_*', 'tracepoint:syscalls:sys_enter_* { @[probe] = count(); }', 1 / 50),
    ]
    # The distribution's takes minutes for each of these.
    tracers = {n: c for n, c in h.tracers.items() if n != harness.DISTRIBUTION}
    for title, script, target in cases:
        seen = h.turns(lambda c: harness.ctrl_c(c, LIMITS + script, limit=120), 1 if h.quick else h.few(), tracers, warm=False)
        for i, what in enumerate(('start to attached', 'Ctrl-C to prompt')):
            h.row(f'{title}, {what}', 'ms', {n: [r[i] * 1e3 for r in rows] for n, rows in seen.items()})
        h.row(f'{title}, both', 'ms', {n: [sum(r) * 1e3 for r in rows] for n, rows in seen.items()}, target=target)
