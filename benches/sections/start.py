"""Start to exit of the whole process, its memory, and from Ctrl-C to the shell's prompt."""
import harness

HELLO = 'BEGIN { printf("hello\\n"); exit() }'
UPROBE = 'uprobe:%s:work { @ = count(); } interval:ms:1 { exit() }'
EIGHT = ['sched:sched_switch', 'sched:sched_wakeup', 'sched:sched_process_fork', 'sched:sched_process_exec',
         'sched:sched_process_exit', 'raw_syscalls:sys_enter', 'raw_syscalls:sys_exit', 'syscalls:sys_enter_openat']


def column(seen, i, unit):
    return {name: [r[i] * unit for r in results] for name, results in seen.items()}


def run(h):
    harness.build_peak()
    target = harness.build('target', '__attribute__((noinline)) int work(int n) { __asm__ volatile("" : "+r"(n)); return n; }\n'
                           'int main(int c, char **v) { return work(c) == 0; }\n')
    uprobe = UPROBE % target
    eight = ' '.join(f'tracepoint:{t} {{ @[probe] = count(); }}' for t in EIGHT)
    few = h.few()
    seen = h.turns(lambda c: harness.whole(c, HELLO))
    h.row('hello, start to exit', 'ms', column(seen, 0, 1e3), target=1 / 40)
    seen = h.turns(lambda c: harness.peak(c, HELLO), few)
    h.row('hello, peak memory', 'MB', column(seen, 0, 1 / 1024), target=1 / 10, most=16)
    seen = h.turns(lambda c: harness.whole(c, uprobe))
    h.row('one uprobe, start to exit', 'ms', column(seen, 0, 1e3), target=1 / 40)
    seen = h.turns(lambda c: harness.ctrl_c(c, eight), few)
    h.row('eight tracepoints, start to attached', 'ms', column(seen, 0, 1e3))
    h.row('eight tracepoints, Ctrl-C to prompt', 'ms', column(seen, 1, 1e3))
    both = {name: [(a + b) * 1e3 for a, b in results] for name, results in seen.items()}
    h.row('eight tracepoints, both together', 'ms', both, target=1 / 40)
    seen = h.turns(lambda c: harness.peak(c, eight + ' interval:ms:100 { exit() }'), few)
    h.row('eight tracepoints, peak memory', 'MB', column(seen, 0, 1 / 1024), target=1 / 10)
