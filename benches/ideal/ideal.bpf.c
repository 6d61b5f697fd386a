/* The programs of benches/sections/events.py by hand: what a code generator can reach.
 * tp_* attach as tracepoints (as bpftrace does), raw_* as raw tracepoints, btf_* as tp_btf, up_* as uprobes. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
char LICENSE[] SEC("license") = "GPL";
#define MAP(n, t, k, v, m) struct { __uint(type, t); __type(key, k); __type(value, v); __uint(max_entries, m); } n SEC(".maps")
#define MAPN(n, t, k, v, m) struct { __uint(type, t); __type(key, k); __type(value, v); __uint(max_entries, m); __uint(map_flags, BPF_F_NO_PREALLOC); } n SEC(".maps")
#define INL static __attribute__((always_inline))

MAP(cnt, BPF_MAP_TYPE_PERCPU_ARRAY, u32, u64, 1);
struct commkey { u64 a, b; };
MAP(bycomm, BPF_MAP_TYPE_PERCPU_HASH, struct commkey, u64, 4096);
struct pik { u32 pid, id; };
MAP(bypidid, BPF_MAP_TYPE_PERCPU_HASH, struct pik, u64, 4096);
MAP(hist, BPF_MAP_TYPE_PERCPU_ARRAY, u32, u64, 128);
struct hv { u64 b[66]; };
MAP(histv, BPF_MAP_TYPE_PERCPU_ARRAY, u32, struct hv, 1);
MAP(start, BPF_MAP_TYPE_HASH, u32, u64, 4096);
MAPN(tstart, BPF_MAP_TYPE_TASK_STORAGE, int, u64, 0);
struct stats { u64 n, sum; };
MAP(statcomm, BPF_MAP_TYPE_PERCPU_HASH, struct commkey, struct stats, 4096);
MAP(lasttid, BPF_MAP_TYPE_HASH, u32, u64, 4096);
MAPN(tlast, BPF_MAP_TYPE_TASK_STORAGE, int, u64, 0);
struct skey { char s[64]; };
MAP(bystr, BPF_MAP_TYPE_PERCPU_HASH, struct skey, u64, 4096);
struct skey16 { char s[16]; };
MAP(bystr16, BPF_MAP_TYPE_PERCPU_HASH, struct skey16, u64, 4096);
struct stk { u64 ip[127]; };
struct { __uint(type, BPF_MAP_TYPE_STACK_TRACE); __uint(key_size, 4); __uint(value_size, 127 * 8); __uint(max_entries, 8192); } stacks SEC(".maps");
struct sidk { u32 id, pid; };
MAP(bystack, BPF_MAP_TYPE_PERCPU_HASH, struct sidk, u64, 8192);
MAP(scratch, BPF_MAP_TYPE_PERCPU_ARRAY, u32, struct stk, 1);
struct hk { u64 h, l; };
struct hval { u64 n; };
MAP(byhash, BPF_MAP_TYPE_PERCPU_HASH, struct hk, struct hval, 8192);
MAP(hstacks, BPF_MAP_TYPE_HASH, struct hk, struct stk, 8192);
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 16 << 20); } rb SEC(".maps");
MAP(lost, BPF_MAP_TYPE_PERCPU_ARRAY, u32, u64, 1);

INL void inc(void *map, const void *key)
{
	u64 *v = bpf_map_lookup_elem(map, key), one = 1;
	if (v) *v += 1;
	else bpf_map_update_elem(map, key, &one, BPF_NOEXIST);
}
INL void incarr(void *map, u32 i)
{
	u64 *v = bpf_map_lookup_elem(map, &i);
	if (v) *v += 1;
}
INL u32 lg2(u64 v)
{
	u32 r = 0;
	if (v >> 32) { r += 32; v >>= 32; }
	if (v >> 16) { r += 16; v >>= 16; }
	if (v >> 8) { r += 8; v >>= 8; }
	if (v >> 4) { r += 4; v >>= 4; }
	if (v >> 2) { r += 2; v >>= 2; }
	if (v >> 1) r += 1;
	return r;
}
INL u32 bucket(s64 v) { return v < 0 ? 0 : v == 0 ? 1 : 2 + lg2(v); }

INL int b_count(void) { incarr(&cnt, 0); return 0; }
INL int b_comm(void)
{
	struct commkey k;
	bpf_get_current_comm(&k, 16);
	inc(&bycomm, &k);
	return 0;
}
INL int b_comm_btf(void)
{
	struct task_struct *t = bpf_get_current_task_btf();
	struct commkey k = { *(u64 *)&t->comm[0], *(u64 *)&t->comm[8] };
	inc(&bycomm, &k);
	return 0;
}
INL int b_pidid(u64 id)
{
	struct pik k = { bpf_get_current_pid_tgid() >> 32, id };
	inc(&bypidid, &k);
	return 0;
}
INL int b_hist(s64 v) { incarr(&hist, bucket(v) & 127); return 0; }
INL int b_filter(void) { if (bpf_get_current_pid_tgid() >> 32 == 1) incarr(&cnt, 0); return 0; }
INL int b_enter_hash(void)
{
	u32 k = bpf_get_current_pid_tgid();
	u64 t = bpf_ktime_get_ns();
	bpf_map_update_elem(&start, &k, &t, 0);
	return 0;
}
INL int b_exit_hash(void)
{
	u32 k = bpf_get_current_pid_tgid();
	u64 *s = bpf_map_lookup_elem(&start, &k);
	if (!s || !*s) return 0;
	incarr(&hist, bucket((bpf_ktime_get_ns() - *s) / 1000) & 127);
	bpf_map_delete_elem(&start, &k);
	return 0;
}
INL int b_enter_ts(void)
{
	u64 *s = bpf_task_storage_get(&tstart, bpf_get_current_task_btf(), 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (s) *s = bpf_ktime_get_ns();
	return 0;
}
INL int b_exit_ts(void)
{
	u64 *s = bpf_task_storage_get(&tstart, bpf_get_current_task_btf(), 0, 0);
	if (!s || !*s) return 0;
	incarr(&hist, bucket((bpf_ktime_get_ns() - *s) / 1000) & 127);
	*s = 0;                                       /* delete() = tombstone: 0 reads as absent */
	return 0;
}
INL int b_stats(u64 v)
{
	struct commkey k;
	bpf_get_current_comm(&k, 16);
	struct stats *s = bpf_map_lookup_elem(&statcomm, &k), one = { 1, v };
	if (s) { s->n++; s->sum += v; } else bpf_map_update_elem(&statcomm, &k, &one, BPF_NOEXIST);
	return 0;
}
INL int b_last_hash(u64 v)
{
	u32 k = bpf_get_current_pid_tgid();
	u64 *p = bpf_map_lookup_elem(&lasttid, &k);
	if (p) *p = v; else bpf_map_update_elem(&lasttid, &k, &v, 0);
	return 0;
}
INL int b_last_ts(u64 v)
{
	u64 *s = bpf_task_storage_get(&tlast, bpf_get_current_task_btf(), 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (s) *s = v;
	return 0;
}
INL int b_cond(u64 id) { incarr(&hist, id == 110); return 0; }

#define TPX(name, cat, ev) SEC("tp/" cat "/" ev) int tp_##name(struct trace_event_raw_sys_enter *c)
#define RAW(name, ev) SEC("raw_tp/" ev) int raw_##name(struct bpf_raw_tracepoint_args *c)
#define BTF_(name, ev) SEC("tp_btf/" ev) int btf_##name(u64 *c)
#define ALL3(name, ev, body) \
	TPX(name, "raw_syscalls", ev) { u64 id = c->id; (void)id; return body; } \
	RAW(name, ev) { u64 id = c->args[1]; (void)id; return body; } \
	BTF_(name, ev) { u64 id = c[1]; (void)id; return body; }
ALL3(empty, "sys_enter", 0)
ALL3(count, "sys_enter", b_count())
ALL3(comm, "sys_enter", b_comm())
ALL3(commbtf, "sys_enter", b_comm_btf())
ALL3(pidid, "sys_enter", b_pidid(id))
ALL3(hist, "sys_enter", b_hist(id))
ALL3(filter, "sys_enter", b_filter())
ALL3(enterhash, "sys_enter", b_enter_hash())
ALL3(exithash, "sys_exit", b_exit_hash())
ALL3(enterts, "sys_enter", b_enter_ts())
ALL3(exitts, "sys_exit", b_exit_ts())
ALL3(stats, "sys_enter", b_stats(id))
ALL3(lasthash, "sys_enter", b_last_hash(id))
ALL3(lastts, "sys_enter", b_last_ts(id))
ALL3(cond, "sys_enter", b_cond(id))

SEC("uprobe") int up_empty(struct pt_regs *c) { return 0; }
SEC("uprobe") int up_count(struct pt_regs *c) { return b_count(); }
SEC("uprobe") int up_sum(struct pt_regs *c)
{
	u32 z = 0;
	u64 *v = bpf_map_lookup_elem(&cnt, &z);
	if (v) *v += c->di;
	return 0;
}
/* length classes: a string that fits 15 bytes goes to a 16-byte key, else 64; both are merged when printed */
SEC("uprobe") int up_str(struct pt_regs *c)
{
	struct skey16 a = {};
	long n = bpf_probe_read_user_str(&a, 16, (void *)c->di);
	if (n > 0 && n < 16) { inc(&bystr16, &a); return 0; }
	struct skey k = {};
	bpf_probe_read_user_str(&k, 64, (void *)c->di);
	inc(&bystr, &k);
	return 0;
}
SEC("uprobe") int up_str64(struct pt_regs *c)
{
	struct skey k = {};
	bpf_probe_read_user_str(&k, 64, (void *)c->di);
	inc(&bystr, &k);
	return 0;
}
SEC("uprobe") int up_stackid(struct pt_regs *c)
{
	struct sidk k = { bpf_get_stackid(c, &stacks, BPF_F_USER_STACK), bpf_get_current_pid_tgid() >> 32 };
	inc(&bystack, &k);
	return 0;
}
/* the stack goes to per-CPU scratch (not cleared), only its used frames are hashed, the whole stack is stored once */
struct hctx { u64 h; u64 *ip; u32 n; };
SEC("uprobe") int up_stackhash(struct pt_regs *c)
{
	u32 z = 0;
	struct stk *s = bpf_map_lookup_elem(&scratch, &z);
	if (!s) return 0;
	long n = bpf_get_stack(c, s, sizeof *s, BPF_F_USER_STACK);
	if (n < 0) return 0;
	u64 h = bpf_get_current_pid_tgid() >> 32, l = n;
	u32 m = n >> 3;
	for (u32 i = 0; i < 127; i++) {
		if (i >= m) break;
		h = (h ^ s->ip[i]) * 0x9E3779B97F4A7C15ull;
		l = (l + s->ip[i]) * 0xC2B2AE3D27D4EB4Full;
		h ^= h >> 29;
	}
	struct hk k = { h, l };
	struct hval *v = bpf_map_lookup_elem(&byhash, &k), one = { 1 };
	if (v) { v->n++; return 0; }
	bpf_map_update_elem(&hstacks, &k, s, BPF_NOEXIST);
	bpf_map_update_elem(&byhash, &k, &one, BPF_NOEXIST);
	return 0;
}
SEC("uprobe") int up_enterhash(struct pt_regs *c) { return b_enter_hash(); }
SEC("uretprobe") int up_exithash(struct pt_regs *c) { return b_exit_hash(); }
SEC("uprobe") int up_enterts(struct pt_regs *c) { return b_enter_ts(); }
SEC("uretprobe") int up_exitts(struct pt_regs *c) { return b_exit_ts(); }
struct rec { u32 id, pid; char comm[16]; u64 v; };
INL int b_printf(u64 v)
{
	struct rec *r = bpf_ringbuf_reserve(&rb, sizeof *r, 0);
	if (!r) { incarr(&lost, 0); return 0; }
	r->id = 1;
	r->pid = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(r->comm, 16);
	r->v = v;
	/* wake the reader only when a good part has filled up; the reader also polls on a timer */
	bpf_ringbuf_submit(r, bpf_ringbuf_query(&rb, BPF_RB_AVAIL_DATA) > (1 << 18) ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP);
	return 0;
}
SEC("uprobe") int up_printf(struct pt_regs *c) { return b_printf(c->di); }
INL int b_printf_sys(u64 id)
{
	if (id != 110) return 0;
	struct commkey k;
	bpf_get_current_comm(&k, 16);
	if (*(u32 *)&k != 0x6e6567) return 0;
	return b_printf(id);
}
ALL3(printf, "sys_enter", b_printf_sys(id))

INL int b_commeq(void)
{
	struct commkey k;
	bpf_get_current_comm(&k, 16);
	if (*(u32 *)&k == 0x6e6567) incarr(&cnt, 0);
	return 0;
}
ALL3(commeq, "sys_enter", b_commeq())
INL int b_chain(u64 id)
{
	switch (id) {
	case 0: incarr(&hist, 0); break;
	case 1: incarr(&hist, 1); break;
	case 3: incarr(&hist, 2); break;
	case 5: incarr(&hist, 3); break;
	case 8: incarr(&hist, 4); break;
	case 9: incarr(&hist, 5); break;
	case 16: incarr(&hist, 6); break;
	case 39: incarr(&hist, 7); break;
	case 102: incarr(&hist, 8); break;
	case 110: incarr(&hist, 9); break;
	}
	return 0;
}
ALL3(chain, "sys_enter", b_chain(id))
SEC("uprobe") int up_array(struct pt_regs *c)
{
	s32 a[16];
	u32 z = 0;
	u64 s = 0, *v = bpf_map_lookup_elem(&cnt, &z);
	if (!v || bpf_probe_read_user(a, sizeof a, (void *)c->di)) return 0;
	for (int i = 0; i < 16; i++) s += a[i];
	*v += s;
	return 0;
}
struct linked { struct linked *next; long value; };
SEC("uprobe") int up_walk(struct pt_regs *c)
{
	struct linked n = { (void *)c->di, 0 };
	u32 z = 0;
	u64 *v = bpf_map_lookup_elem(&cnt, &z);
	if (!v) return 0;
	for (int i = 0; i < 4; i++)
		if (bpf_probe_read_user(&n, sizeof n, n.next)) return 0;
	*v += n.value;
	return 0;
}
