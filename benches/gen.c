/* gen MODE N [-w SECONDS] [-c CPU] [-t THREADS]: makes a known number of events, prints one line of JSON.
 *
 *   int    calls fn_int(i)                     uprobe:gen:fn_int
 *   str    calls fn_str("..."), eight strings  uprobe:gen:fn_str
 *   deep   calls fn_deep(i) below 12 frames    uprobe:gen:fn_deep
 *   array  calls fn_array(int[16])             uprobe:gen:fn_array
 *   chain  calls fn_chain(four linked structs) uprobe:gen:fn_chain
 *   keys   calls fn_int(0..N), then fn_mark() once
 *   sys    getppid() by syscall(2)             raw_syscalls:sys_enter, sys_exit
 *
 * -w: first wait, at most so long, until a breakpoint is at the function; works for every tracer.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define PROBED __attribute__((noinline, noclone, used))
/* The clobber makes them start with `push`, as most functions do: the kernel emulates it instead of stepping. */
#define BODY(x) __asm__ volatile("" : "+r"(x) : : "rbx")

struct node { struct node *next; long value; };

PROBED long fn_int(long a) { BODY(a); return a + 1; }
PROBED long fn_mark(long a) { BODY(a); return a + 3; }
PROBED long fn_str(const char *s) { BODY(s); return (long)s; }
PROBED long fn_deep(long a) { BODY(a); return a + 2; }
PROBED long fn_array(const int *a) { BODY(a); return a[1]; }
PROBED long fn_chain(const struct node *n) { BODY(n); return n->value; }

/* Twelve different frames, as real stacks have. */
#define LEVEL(n, m) PROBED long level##n(long a) { long r = m(a); __asm__ volatile("" : "+r"(r)); return r + n; }
LEVEL(0, fn_deep) LEVEL(1, level0) LEVEL(2, level1) LEVEL(3, level2) LEVEL(4, level3) LEVEL(5, level4)
LEVEL(6, level5) LEVEL(7, level6) LEVEL(8, level7) LEVEL(9, level8) LEVEL(10, level9) LEVEL(11, level10)

static volatile long sink;
static const char *mode = "";
static long total;
static int cpu = -1;

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static int is(const char *m) { return !strcmp(mode, m); }

static void *work(void *arg)
{
	static const char *strings[8] = { "alpha", "bravo/one/two/three", "charlie", "delta-delta-delta-delta-delta", "e",
		"foxtrot.so.6", "/usr/lib/x86_64-linux-gnu/libgolf.so", "hotel" };
	static const int array[16] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 };
	static struct node nodes[4] = { { nodes + 1, 1 }, { nodes + 2, 2 }, { nodes + 3, 3 }, { 0, 4 } };
	long n = (long)arg;
	if (cpu >= 0) {
		cpu_set_t s;
		CPU_ZERO(&s);
		CPU_SET(cpu, &s);
		sched_setaffinity(0, sizeof s, &s);
	}
	if (is("int") || is("keys")) for (long i = 0; i < n; i++) sink = fn_int(i);
	if (is("keys")) sink = fn_mark(n);
	if (is("str")) for (long i = 0; i < n; i++) sink = fn_str(strings[i & 7]);
	if (is("deep")) for (long i = 0; i < n; i++) sink = level11(i);
	if (is("array")) for (long i = 0; i < n; i++) sink = fn_array(array);
	if (is("chain")) for (long i = 0; i < n; i++) sink = fn_chain(nodes);
	if (is("sys")) for (long i = 0; i < n; i++) syscall(SYS_getppid);
	return 0;
}

int main(int c, char **v)
{
	double wait = 0;
	long threads = 1;
	mode = c > 1 ? v[1] : "";
	total = c > 2 ? atol(v[2]) : 0;
	for (int k = 3; k + 1 < c; k += 2) {
		if (!strcmp(v[k], "-w")) wait = atof(v[k + 1]);
		if (!strcmp(v[k], "-c")) cpu = atoi(v[k + 1]);
		if (!strcmp(v[k], "-t")) threads = atol(v[k + 1]);
	}
	const volatile uint8_t *at = is("int") || is("keys") ? (void *)fn_int : is("str") ? (void *)fn_str : is("deep") ? (void *)fn_deep
		: is("array") ? (void *)fn_array : is("chain") ? (void *)fn_chain : 0;
	int seen = 0;
	/* int3, or the call or jump of an optimised uprobe */
	for (double t0 = now(); at && !seen && now() - t0 < wait; usleep(2000)) seen = *at == 0xcc || *at == 0xe8 || *at == 0xe9;
	if (at && wait > 0) usleep(20000);
	pthread_t ids[64];
	double t0 = now();
	for (long t = 1; t < threads && t < 64; t++) pthread_create(ids + t, 0, work, (void *)(total / threads));
	work((void *)(total - (threads - 1) * (total / threads)));
	for (long t = 1; t < threads && t < 64; t++) pthread_join(ids[t], 0);
	double t1 = now();
	printf("{\"mode\":\"%s\",\"pid\":%d,\"n\":%ld,\"seconds\":%.6f,\"breakpoint\":%d}\n", mode, getpid(), total, t1 - t0, seen);
	return 0;
}
