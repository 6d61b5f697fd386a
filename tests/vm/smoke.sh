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
    tests/vm/run --kernel "$kernel" --timeout 300 --env SMOKE_INSIDE=1 --env KERNEL="$kernel" -- "$PWD/tests/vm/smoke.sh" "$rtrace" || failed=$((failed + $?))
  done
  exit "$failed"
fi

# Inside: expect REGEX PROGRAM runs a program beside some work and looks for a line of its output.
failed=0
expect() {
  local want=$1 program=$2 out rc=0
  out=$(timeout 40 "$rtrace" -c '/bin/cat /etc/passwd /etc/group' -e "$program" 2>&1) || rc=$?
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
echo "$failed failed"
exit "$failed"
