#!/usr/bin/env bash
# smoke.sh [RTRACE]: kernel probes on stock Debian kernels, in one VM command per kernel.
#
#   tests/vm/smoke.sh                        # target/release/rtrace on 6.1 and 6.12
#   KERNELS="5.10 newest" tests/vm/smoke.sh
#
# Exit status: how many cases failed.
set -euo pipefail
cd "$(dirname "$0")/../.."
rtrace=$(realpath "${1:-target/release/rtrace}")

if [ -z "${SMOKE_INSIDE:-}" ]; then
  failed=0
  for kernel in ${KERNELS:-6.1 6.12}; do
    echo "== kernel $kernel"
    tests/vm/run --kernel "$kernel" --timeout 1800 --env SMOKE_INSIDE=1 --env KERNEL="$kernel" -- "$PWD/tests/vm/smoke.sh" "$rtrace" || failed=$((failed + $?))
  done
  exit "$failed"
fi

# Inside: expect REGEX PROGRAM [COMMAND] runs a program beside some work and looks for a line of
# its output.
failed=0
expect() {
  local want=$1 program=$2 out rc=0
  out=$(timeout 300 "$rtrace" ${OPTIONS:-} -c "${3:-/bin/cat /etc/passwd /etc/group}" -e "$program" 2>&1) || rc=$?
  if grep -Eq -- "$want" <<<"$out" && [ $rc = 0 ]; then
    echo "ok   $program"
  else
    failed=$((failed + 1))
    printf 'FAIL (%s) %s\n%s\n' "$rc" "$program" "$(sed 's/^/     /' <<<"$out" | head -20)"
  fi
}

uname -r
expect '^@: [1-9]' 'kprobe:vfs_read { @ = count() }'
expect '^@\[.*\]: [1-9]' 'kprobe:vfs_read { @[comm, arg2] = count() }'
expect 'size: [1-9]' 'kprobe:vfs_read { printf("size: %d\n", arg2) }'
expect '^@: [1-9]' 'kretprobe:vfs_read { @ = sum(retval) }'
expect '\|@@@' 'kprobe:vfs_read { @t[tid] = nsecs } kretprobe:vfs_read /@t[tid]/ { @ns = hist(nsecs - @t[tid]); delete(@t, tid) }'
expect 'vfs_read' 'kprobe:vfs_read { @[kstack(2)] = count() }'
expect '^@\[kprobe:vfs_r.*\]: [1-9]' 'kprobe:vfs_re* { @[probe] = count() }'
expect '^@\[vfs_read\]: [1-9]' 'kprobe:vfs_read { @[func] = count() }'
expect '^@: [1-9]' 'tracepoint:syscalls:sys_enter_openat { @ = count() }'
expect '^/etc/passwd' 'tracepoint:syscalls:sys_enter_openat { printf("%s\n", str(args.filename)) }'
expect '^@\[.*sys_exit_.*\]: [1-9]' 'tracepoint:syscalls:sys_exit_* { @[probe] = count() }'
expect '^@: [1-9]' 'rawtracepoint:sched_switch { @ = count() }'
expect '^@\[.+\]: [1-9]' 'rawtracepoint:sched_switch { @[args.prev.comm] = count() }'
expect '^@\[.+\]: [1-9]' 'fentry:vfs_read { @[comm, args.count] = count() }'
expect '^@: [1-9]' 'fexit:vfs_read { @ = count(); @r = max(retval) }'
expect '^passwd' 'fentry:vfs_open { printf("%s\n", str(args.path.dentry.d_name.name)) }'
expect 'systemd|init|swapper|run|sh' 'kprobe:vfs_read { printf("%s\n", curtask.real_parent.comm) }'
expect 'swapper|kthreadd|init' 'iter:task { printf("%s %d\n", ctx.task.comm, ctx.task.pid) }'
expect '^@: [1-9]' 'profile:hz:99 { @ = count() }'
expect '^@\[.+\]: [1-9]' 'software:page-faults:1 { @[comm] = count() }'
expect '^hello' 'begin { printf("hello\n") }'
expect '^@\[vfs_open\]: [1-9]' 'kprobe:vfs_* { @[func] = count() }'
expect '^@\[vfs_open, .+\]: [1-9]' 'kretprobe:vfs_* { @[func, comm] = count() }'
expect '\|@@@' 'kretprobe:vfs_read { @ = hist(retval) }'
expect '^@\[.+\]: [1-9]' 'fentry:vfs_read { @[comm] = sum(args.count) }'
expect '^@: [1-9]' 'fexit:vfs_read { @ = sum(retval >= 0 ? retval : 0) }'
expect '^exec /bin/true' 'kprobe:__x64_sys_execve { @name[tid] = str(uptr(((struct pt_regs *)arg0).di)) } kretprobe:__x64_sys_execve /has_key(@name, tid)/ { printf("exec %s\n", @name[tid]); delete(@name, tid) }' '/bin/sh -c "/bin/true; /bin/true"'
tcp='/usr/bin/env python3 tests/tools/workload /tmp tcp'
expect '^@\[[0-9]+\]: [1-9]' 'kprobe:__kfree_skb,kprobe:kfree_skb*,kprobe:sk_skb_reason_drop* { @[pid] = count() }' "$tcp"
# As a table that is printed afresh, several times.
expect '^@\[[0-9]+\]: [1-9]' 'kprobe:__kfree_skb,kprobe:kfree_skb*,kprobe:sk_skb_reason_drop* { @[pid] = count() } interval:ms:200 { print(@); clear(@) }' "$tcp"
expect '^@\[SKB_DROP_REASON_NO_SOCKET\]: [1-9]' 'tracepoint:skb:kfree_skb { @[args.reason] = count() }' "$tcp"

# In the middle of a function, by address, in a module, and where nothing can be.
# (Where the second instruction begins depends on the kernel's build.)
for second in 4 5; do
  "$rtrace" -q --dry-run -e "kprobe:vfs_read+$second { }" 2> /dev/null && break
done
expect '^@: [1-9]' "kprobe:vfs_read+$second { @ = count() }"
address=$(awk '$3 == "vfs_read" { print "0x" $1 }' /proc/kallsyms)
OPTIONS=--unsafe expect '^@: [1-9]' "kprobe:$address { @ = count() }"
expect '^@\[ovl_.*\]: [1-9]' 'kprobe:overlay:ovl_* { @[func] = count() }'
BPFTRACE_MISSING_PROBES=warn expect 'notrace.*attaching to it will likely' 'kprobe:no_such_function { } interval:ms:10 { exit() }'
expect '^@: 0$' 'kprobe:vfs_read /comm == "cat"/ { @++ } kretprobe:vfs_read /comm == "cat"/ { @-- } END { print(@) }'

# All functions of some kind in one go, and Ctrl-C when only some are attached.
BPFTRACE_MAX_PROBES=100000 expect '^@: [1-9]' 'kprobe:v*,kprobe:d* { @ = count() }'
if tests/vm/interrupt "$rtrace" 's*'; then echo "ok   Ctrl-C while attaching"; else failed=$((failed + 1)); fi

# An iterator that stays, to be read by anybody.
rm -f /sys/fs/bpf/smoke
"$rtrace" -e 'iter:task:smoke { printf("pinned %s %d\n", ctx.task.comm, ctx.task.pid) }' > /tmp/pin 2>&1 || true
if grep -q 'Program pinned to /sys/fs/bpf/smoke' /tmp/pin && grep -q '^pinned kthreadd 2$' /sys/fs/bpf/smoke; then
  echo "ok   iter:task:smoke"
else
  failed=$((failed + 1)); echo "FAIL iter:task:smoke"; cat /tmp/pin
fi

# What this kernel can do, as it is told.
"$rtrace" doctor > /tmp/doctor
for feature in kprobe uprobe fentry iter tp_btf; do
  grep -Eq "^yes +$feature " /tmp/doctor || { failed=$((failed + 1)); echo "FAIL doctor: $feature"; }
done
grep -E '^(yes|no|unknown) +(kprobe_multi|kprobe_session|uprobe_multi|uprobe_session) ' /tmp/doctor || true

# A BPF program that another one traces: each call of it counts at its entry and its exit.
"$rtrace" -q -e 'tracepoint:syscalls:sys_enter_getppid { @ = count() }' > /tmp/traced 2>&1 &
traced=$!
for _ in $(seq 40); do "$rtrace" -l 'fentry:bpf:*getppid' | grep -q bpf && break; sleep 0.5; done
calls='/usr/bin/env python3 -c "import os; [os.getppid() for i in range(50)]"'
expect '^@out: 50$' 'fexit:bpf:*getppid /comm == "python3"/ { @out = count() }' "$calls"
expect '^@: 50$' 'fentry:bpf:*getppid /comm == "python3"/ { @ = count() }' "$calls"
kill -INT "$traced"; wait "$traced" || true

# A variable that a program changes, at an address that it prints.
cat > /tmp/watched.c <<'C'
volatile long watched;
int main(void) { for (int i = 0; i < 5; i++) watched += 10; }
C
if gcc -static -no-pie -o /tmp/watched /tmp/watched.c; then
  address=$(nm /tmp/watched | awk '$3 == "watched" { print "0x" $1 }')
  expect '^@: 5$' "watchpoint:$address:8:w { @ = count() }" /tmp/watched
fi
echo "$failed failed"
exit "$failed"
