"""What the sections of benches/run share: the tracers, taking turns, the rows and their targets.

A section is a module of benches/sections with a function `run(h)`; it calls `h.row()` for each
line of the table. Every number is the median of samples that the tracers took in turn.
"""
import atexit
import ctypes
import json
import os
import re
import select
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CACHE = os.path.expanduser('~/.cache/rtrace-bench')
WORK = CACHE + '/work'
OURS, DISTRIBUTION, NEWEST, IDEAL = 'rtrace', 'distribution', 'newest', 'ideal'
STATS = '/proc/sys/kernel/bpf_stats_enabled'
LIMIT = 30  # seconds that any wait may take
# Seconds before each run. The kernel tears down probes, maps and programs of a tracer after its
# exit (grace periods, work queues): without a pause the next in turn pays for that.
SETTLE = 0.5


def sh(*argv, **options):
    subprocess.run(argv, check=True, **options)


class Failed(RuntimeError):
    """A tracer cannot do what a row asks."""


class Row:
    """A line of the table: samples of each tracer, and what ours is held against.

    `target` is the largest allowed ratio to the newest bpftrace, `ideal` to the hand-written
    program, `most` the largest allowed number; None: no such target. `noise`, in the row's unit,
    is what the measurement cannot tell apart.
    """

    def __init__(self, title, unit, samples, target=None, ideal=None, most=None, noise=0.0):
        self.title, self.unit = title, unit
        self.samples = {n: v for n, v in samples.items() if v}
        self.medians = {n: statistics.median(v) for n, v in self.samples.items()}
        self.target, self.ideal, self.most, self.noise = target, ideal, most, noise

    def ratio(self, other):
        """Our number over that of `other`."""
        ours, theirs = self.medians.get(OURS), self.medians.get(other)
        if ours is None or theirs is None:
            return None
        return max(ours, self.noise) / max(theirs, self.noise, 1e-9)

    def verdicts(self):
        """[(what is asked, whether it is met)]"""
        out = []
        for limit, other in ((self.target, NEWEST), (self.ideal, IDEAL)):
            ratio = self.ratio(other)
            if limit is not None and ratio is not None:
                out.append((f'at most {limit:.3g} of {other}', ratio <= limit))
        if self.most is not None and OURS in self.medians:
            out.append((f'at most {self.most:g} {self.unit}', self.medians[OURS] <= self.most))
        return out

    def report(self):
        values = {n: {'median': statistics.median(v), 'min': min(v), 'max': max(v), 'n': len(v)} for n, v in self.samples.items()}
        return {'title': self.title, 'unit': self.unit, 'values': values, 'ratio_to_newest': self.ratio(NEWEST),
                'ratio_to_ideal': self.ratio(IDEAL), 'targets': [{'target': t, 'met': ok} for t, ok in self.verdicts()]}


class Harness:
    """The tracers that are compared and what was measured of them."""

    def __init__(self, tracers, runs, quick, only=''):
        self.tracers, self.runs, self.quick, self.only = tracers, runs, quick, only
        self.versions = {name: version(command) for name, command in tracers.items()}
        self.rows = []
        self.section = ''

    def row(self, title, unit, samples, **targets):
        row = Row(title, unit, samples, **targets)
        self.rows.append((self.section, row))
        cells = ', '.join(f'{n} {v:.4g}' for n, v in row.medians.items())
        print(f'  {self.section}: {title} ({unit}): {cells}', file=sys.stderr, flush=True)
        return row

    def turns(self, one, runs=None, tracers=None, warm=True):
        """{name: [result]}: `runs` rounds, each tracer once a round; a first round warms the caches."""
        tracers = self.tracers if tracers is None else tracers
        seen = {name: [] for name in tracers}
        for i in range((runs or self.runs) + warm):
            for name, command in tracers.items():
                if seen[name] is None:
                    continue
                time.sleep(SETTLE)
                try:
                    result = one(command)
                except (Failed, subprocess.TimeoutExpired) as e:
                    print(f'  {name}: {e}', file=sys.stderr)
                    seen[name] = None
                    continue
                if i or not warm:
                    seen[name].append(result)
        return {name: rows for name, rows in seen.items() if rows}

    def few(self):
        return max(3, self.runs // 3)


def peers():
    """{name: command} of the bpftraces, installed when they are missing."""
    if not shutil.which('bpftrace') or not shutil.which('debootstrap'):
        env = dict(os.environ, DEBIAN_FRONTEND='noninteractive')
        sh('apt-get', 'update', '-qq')
        sh('apt-get', 'install', '-y', '-qq', '--no-install-recommends', 'bpftrace', 'debootstrap', env=env, stdout=subprocess.DEVNULL)
    sid = CACHE + '/sid'
    if not os.path.exists(sid + '/usr/bin/bpftrace'):
        os.makedirs(CACHE, exist_ok=True)
        sh('debootstrap', '--variant=minbase', '--include=bpftrace', 'sid', sid, stdout=sys.stderr)
    os.makedirs(sid + WORK, exist_ok=True)
    for d in ('/proc', '/sys', '/dev', WORK):
        # As a slave: taking it away again must not take away the machine's own.
        if not os.path.ismount(sid + d):
            sh('mount', '--rbind', '--make-rslave', d, sid + d)
            atexit.register(subprocess.run, ['umount', '--recursive', '--lazy', sid + d])
    return {DISTRIBUTION: [shutil.which('bpftrace')], NEWEST: ['chroot', sid, 'bpftrace']}


def version(command):
    out = subprocess.run(command + ['--version'], capture_output=True, text=True)
    lines = (out.stdout + out.stderr).strip().splitlines()
    return lines[-1] if lines else '?'


def dialect(command, program):
    """The program as the tracer spells it: before 0.19, bpftrace's fields are behind an arrow."""
    m = re.search(r'bpftrace v0\.(\d+)', version_of(command))
    return re.sub(r'\bargs\.', 'args->', program) if m and int(m[1]) < 19 else program


_versions = {}


def version_of(command):
    key = tuple(command)
    if key not in _versions:
        _versions[key] = version(command)
    return _versions[key]


# ------------------------------------------------------------------------------- whole processes
def whole(command, program, env=None):
    """Seconds from start to exit. Nothing is written to a terminal."""
    with open(os.devnull, 'r+b') as null, tempfile.TemporaryFile() as err:
        t0 = time.monotonic()
        p = subprocess.Popen(command + ['-e', dialect(command, program)], stdin=null, stdout=null, stderr=err, env=env)
        p.wait()
        seconds = time.monotonic() - t0
        if p.returncode != 0:
            err.seek(0)
            raise Failed(f'{command[0]} failed ({p.returncode}): ' + err.read().decode(errors='replace')[-300:])
    return (seconds,)


def ctrl_c(command, program, limit=LIMIT):
    """Seconds from start until attached, and from SIGINT to the exit."""
    # Attached last, and heard at once: all the others are attached then.
    program += ' interval:ms:1 { printf("up\\n"); }'
    p = None
    with tempfile.TemporaryFile() as err:
        try:
            t0 = time.monotonic()
            p = subprocess.Popen(command + ['-B', 'line', '-e', program], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=err, bufsize=0)
            text = b''
            while b'up\n' not in text:
                if not select.select([p.stdout], [], [], limit)[0]:
                    raise Failed('not attached in time')
                more = p.stdout.read(65536)
                if not more:
                    err.seek(0)
                    raise Failed('ended early: ' + err.read().decode(errors='replace')[-300:])
                text += more
            attached = time.monotonic() - t0
            time.sleep(0.1)
            t1 = time.monotonic()
            p.send_signal(signal.SIGINT)
            while select.select([p.stdout], [], [], limit)[0] and p.stdout.read(65536):
                pass
            p.wait()
            return attached, time.monotonic() - t1
        finally:
            if p and p.returncode is None:
                p.kill()
                p.wait()


def peak(command, program):
    """Peak memory in kilobytes. A process starts as a copy of its parent, and that counts: the parent is a small one."""
    with open(os.devnull, 'r+b') as null:
        p = subprocess.run([WORK + '/peak'] + command + ['-e', program], stdin=null, stdout=null, stderr=subprocess.PIPE, text=True)
    return (int(p.stderr.splitlines()[-1]),)


def build(name, source=None, flags=('-O1',)):
    """Compiles benches/NAME.c, or `source`, to WORK/NAME; gives its path."""
    path = f'{ROOT}/benches/{name}.c'
    if source is not None:
        path = f'{WORK}/{name}.c'
        with open(path, 'w') as f:
            f.write(source)
    sh('gcc', *flags, '-o', f'{WORK}/{name}', path)
    return f'{WORK}/{name}'


def build_peak():
    build('peak', '#include <stdio.h>\n#include <sys/resource.h>\n#include <sys/wait.h>\n#include <unistd.h>\n'
          'int main(int c, char **v) { struct rusage u; int s; pid_t p = fork();\n'
          'if (!p) { execvp(v[1], v + 1); _exit(127); }\n'
          'wait4(p, &s, 0, &u); fprintf(stderr, "\\n%ld\\n", u.ru_maxrss); return s != 0; }\n')


# -------------------------------------------------------------------------------- running tracers
class Live:
    """A tracer that runs in the background; its output is in files."""

    def __init__(self, command, argv, env=None):
        self.out = tempfile.NamedTemporaryFile(prefix='out-', dir=WORK)
        self.err = tempfile.NamedTemporaryFile(prefix='err-', dir=WORK)
        self.p = subprocess.Popen(command + argv, stdin=subprocess.DEVNULL, stdout=self.out, stderr=self.err, env=env)
        self.usage = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
        self.out.close()
        self.err.close()

    def ended(self):
        if self.usage is None:
            pid, status, usage = os.wait4(self.p.pid, os.WNOHANG)
            if pid:
                self.usage = usage
                self.p.returncode = os.waitstatus_to_exitcode(status)
        return self.usage is not None

    def programs(self):
        """Numbers of the BPF programs that it holds."""
        ids = set()
        try:
            for fd in os.listdir(f'/proc/{self.p.pid}/fdinfo'):
                try:
                    with open(f'/proc/{self.p.pid}/fdinfo/{fd}') as f:
                        ids.update(int(line.split()[1]) for line in f if line.startswith('prog_id:'))
                except OSError:
                    pass
        except OSError:
            pass
        return sorted(ids)

    def wait_for(self, ready, seconds=LIMIT):
        """Waits until `ready()` is true."""
        end = time.monotonic() + seconds
        while not ready():
            if self.ended():
                raise Failed('ended early: ' + self.text()[-300:])
            if time.monotonic() > end:
                raise Failed('not ready in time')
            time.sleep(0.01)

    def cpu(self):
        """Seconds of processor time so far."""
        with open(f'/proc/{self.p.pid}/stat') as f:
            fields = f.read().rsplit(')', 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')

    def memory_mb(self):
        with open(f'/proc/{self.p.pid}/status') as f:
            return int(re.search(r'VmHWM:\s+(\d+)', f.read())[1]) / 1024

    def stop(self):
        """Ends it as Ctrl-C would; the seconds that takes."""
        t0 = time.monotonic()
        if not self.ended():
            self.p.send_signal(signal.SIGINT)
        while not self.ended():
            if time.monotonic() - t0 > LIMIT:
                self.p.kill()
            time.sleep(0.002)
        return time.monotonic() - t0

    def text(self):
        s = ''
        for f in (self.err, self.out):
            with open(f.name, errors='replace') as g:
                s += g.read()
        return s


# ------------------------------------------------------------------------------------- the kernel
def statistics_on(on):
    with open(STATS, 'w') as f:
        f.write('1' if on else '0')


class ProgInfo:
    """What the kernel knows of a BPF program: instructions after verification, runs, their nanoseconds."""

    SYSCALL, GET_FD_BY_ID, INFO_BY_FD = 321, 13, 15
    libc = ctypes.CDLL(None, use_errno=True)

    def __init__(self, number):
        if os.uname().machine != 'x86_64':
            raise Failed('the number of the bpf system call is known for x86-64 only')
        attr = ctypes.create_string_buffer(128)
        attr[0:4] = number.to_bytes(4, 'little')
        fd = self.libc.syscall(self.SYSCALL, self.GET_FD_BY_ID, attr, 128)
        if fd < 0:
            raise Failed(f'program {number} is gone')
        try:
            info = ctypes.create_string_buffer(256)
            attr = ctypes.create_string_buffer(128)
            attr[0:4] = fd.to_bytes(4, 'little')
            attr[4:8] = (232).to_bytes(4, 'little')
            attr[8:16] = ctypes.addressof(info).to_bytes(8, 'little')
            if self.libc.syscall(self.SYSCALL, self.INFO_BY_FD, attr, 128) < 0:
                raise Failed('no information about a program')
        finally:
            os.close(fd)
        word = lambda at, n: int.from_bytes(info.raw[at:at + n], 'little')
        self.instructions = word(20, 4) // 8
        self.nanoseconds, self.runs = word(192, 8), word(200, 8)


def generate(mode, n, *extra):
    """Makes events; what the generator says of them."""
    out = subprocess.run([WORK + '/gen', mode, str(n), *map(str, extra)], capture_output=True, text=True, timeout=180, check=True)
    return json.loads(out.stdout)


def build_generator():
    build('gen', flags=('-O2', '-pthread', '-fno-omit-frame-pointer', '-fno-optimize-sibling-calls'))


def build_ideal():
    """The hand-written programs' loader, or None where the tools are missing."""
    need = [t for t in ('clang', 'bpftool') if not shutil.which(t)]
    if need or not os.path.exists('/usr/include/bpf/libbpf.h'):
        print('no hand-written programs: clang, bpftool and libbpf-dev are needed', file=sys.stderr)
        return None
    source, out = f'{ROOT}/benches/ideal', f'{WORK}/ideal'
    with open(f'{WORK}/vmlinux.h', 'w') as f:
        sh('bpftool', 'btf', 'dump', 'file', '/sys/kernel/btf/vmlinux', 'format', 'c', stdout=f)
    sh('clang', '-O2', '-g', '-mcpu=v3', '--target=bpf', '-D__TARGET_ARCH_x86', f'-I{WORK}', '-c', f'{source}/ideal.bpf.c', '-o', f'{out}.bpf.o')
    sh('gcc', '-O2', f'{source}/ideal.c', '-o', out, '-lbpf', '-lelf', '-lz')
    return [out]
