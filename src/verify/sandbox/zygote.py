# A warmed interpreter that forks confined children: programs, and the tests of programs. It runs nothing but code of this
# file and of the modules that it is given, reads no program and no test, and forks only while it is in this loop: what a
# child does reaches neither it nor the next child.
#
# Arguments: the control socket. The first message is the setting: {modules, filters, ruleset, limits, packages}, the modules
# as sources that share one set of names. Each further message is a job: {role, tests?}, with the descriptors that belong to
# it. The answer is one line with the children's numbers, and one with how they ended.

import ctypes
import fcntl
import gc
import json
import os
import resource
import signal
import socket
import struct
import sys
import time

PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS, SET_MODE_FILTER = 1, 38, 1
# Where descriptors are put aside while those of a child are arranged; where the ruleset is; there is none beyond the last.
HIGH, RULESET, DESCRIPTORS_MAX = 128, 200, 256
# How the tests leave when they have lost the program, and how long it may take to be seen to end then.
GONE, GRACE_MS = 7, 1000
libc = ctypes.CDLL(None, use_errno=True)


def receive(control):
    """Returns the next message with its descriptors; None at the end."""
    room = socket.CMSG_SPACE(8 * struct.calcsize("i"))
    data, ancillary, _flags, _address = control.recvmsg(1 << 16, room)
    descriptors = []
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            count = len(content) // struct.calcsize("i")
            descriptors += struct.unpack("%di" % count, content[: count * struct.calcsize("i")])
    return (json.loads(data) if data else None), descriptors


def read_setting(descriptor):
    parts = []
    while True:
        part = os.read(descriptor, 1 << 20)
        if not part:
            return json.loads(b"".join(parts))
        parts.append(part)


class Confinement:
    """Everything that a child puts on before it runs anything that is not ours."""

    def __init__(self, setting):
        self.ruleset, self.landlock, self.seccomp = setting["ruleset"], setting["landlock"], setting["seccomp"]
        if self.ruleset is not None:
            os.dup2(self.ruleset, RULESET, inheritable=False)
            os.close(self.ruleset)
            self.ruleset = RULESET
            self.allow(setting["add_rule"], setting["scratch_access"])
        self.limits = [(getattr(resource, name), tuple(values)) for name, values in setting["limits"].items()]
        self.programs = []
        for code in setting["filters"]:
            content = ctypes.create_string_buffer(bytes.fromhex(code), len(code) // 2)
            program = struct.pack("HxxxxxxP", len(code) // 16, ctypes.addressof(content))
            self.programs.append((content, ctypes.create_string_buffer(program, len(program))))

    def allow(self, call, access):
        # Only here is the scratch directory known that the children see: their disk may be mounted over it.
        place = os.open(".", os.O_PATH)
        rule = struct.pack("=Qi", access, place)
        checked(libc.syscall(ctypes.c_long(call), self.ruleset, 1, ctypes.create_string_buffer(rule, len(rule)), 0))
        os.close(place)

    def apply(self, parent):
        for limit, values in self.limits:
            resource.setrlimit(limit, values)
        checked(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        checked(libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0))
        if os.getppid() != parent:
            os._exit(3)
        if self.ruleset is not None:
            checked(libc.syscall(ctypes.c_long(self.landlock), self.ruleset, 0))
            os.close(self.ruleset)
        for _content, program in self.programs:
            checked(libc.syscall(ctypes.c_long(self.seccomp), SET_MODE_FILTER, 0, program))


def checked(result):
    if result != 0:
        os._exit(4)


def arrange(wanted, ruleset):
    """Gives a child the descriptors that it is to have, from 0 on, and closes all others but the ruleset's."""
    high = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, HIGH) for descriptor in wanted]
    for index, descriptor in enumerate(high):
        os.dup2(descriptor, index)
    os.closerange(len(wanted), RULESET)
    os.closerange(RULESET + (ruleset is not None), DESCRIPTORS_MAX)


def tell_to(descriptor):
    def tell(**message):
        line = memoryview((json.dumps(message) + "\n").encode())
        while line:
            line = line[os.write(descriptor, line) :]

    return tell


def child(names, confinement, parent, wanted, run):
    """Becomes a confined child; never returns."""
    try:
        arrange(wanted, confinement.ruleset)
        confinement.apply(parent)
        gc.enable()
        run(names)
    except BaseException:
        import traceback

        traceback.print_exc()
        flush()
        os._exit(5)
    flush()
    os._exit(0)


def flush():
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException:
            pass


def payload_of(descriptor):
    payload = read_setting(descriptor)
    os.close(descriptor)
    return payload


def run_tests(names):
    # 3: the line to the program; 4: the messages; 5: the tests.
    payload = payload_of(5)
    names["run_tests"](payload, 3, tell_to(4))


def run_check(names):
    tell_to(4)(end=names["check"](payload_of(5)))


def run_program(names):
    names["run_tested"](names["Line"](3))


def run_script(names):
    names["run_script"](payload_of(4), tell_to(3))


def run_probe(names):
    payload = payload_of(4)
    exec(compile(payload["source"], "<probe>", "exec"), dict(payload, __name__="__main__", channel=3))


def spawn(names, confinement, wanted, run, others):
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        child(names, confinement, parent, wanted, run)
    return pid


def start(names, confinement, job, given, null):
    """Starts the children of a job; returns their numbers by role."""
    role = job["role"]
    if role == "tests":
        # stdout and stderr of the program; messages and payload of the tests.
        stdout, stderr, messages, payload = given
        ours, theirs = (end.detach() for end in socket.socketpair())
        try:
            program = spawn(names, confinement, [null, stdout, stderr, theirs], run_program, given)
            tests = spawn(names, confinement, [null, null, null, ours, messages, payload], run_tests, given)
        finally:
            os.close(ours)
            os.close(theirs)
        return {"program": program, "tests": tests}
    if role == "check":
        messages, payload = given
        return {"tests": spawn(names, confinement, [null, null, null, null, messages, payload], run_check, given)}
    stdin, stdout, stderr, messages, payload = given
    run = run_script if role == "script" else run_probe
    return {"program": spawn(names, confinement, [stdin, stdout, stderr, messages, payload], run, given)}


def follow(children):
    """Waits for the children: those of tests end the program."""
    ended, killed = {}, False
    roles = {pid: role for role, pid in children.items()}
    while roles:
        pid, status, usage = os.wait4(-1, 0)
        role = roles.pop(pid, None)
        if role is None:
            continue
        ended[role] = [status, int((usage.ru_utime + usage.ru_stime) * 1000)]
        if role == "tests":
            for other in roles:
                killed = not (status == GONE << 8 and has_ended(other))
                os.kill(other, signal.SIGKILL)
    return dict(ended, killed=killed)


def has_ended(pid):
    # Where the tests say that the program is gone it has ended, or is about to: how decides the verdict.
    for _ in range(GRACE_MS):
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return True
        time.sleep(0.001)
    return False


def clean(scratch):
    # What a program may have left: files only. No name, or a directory, says that something is wrong.
    for name in os.listdir(scratch):
        os.unlink(os.path.join(scratch, name))


def main():
    control = socket.socket(fileno=int(sys.argv[1]))
    setting = read_setting(int(sys.argv[2]))
    os.close(int(sys.argv[2]))
    sys.argv[:] = ["answer.py"]
    sys.path[:] = [path for path in sys.path if path] + setting["packages"]
    import builtins

    builtins.exit = builtins.quit = sys.exit
    # With built-ins of its own: what a program does to those of the language does not reach it.
    names = {"__name__": "harness", "__builtins__": dict(vars(builtins))}
    for name, source in setting["modules"]:
        exec(compile(source, "<" + name + ">", "exec", dont_inherit=True), names)
    confinement = Confinement(setting)
    null = os.open(os.devnull, os.O_RDWR)
    scratch = os.getcwd()
    gc.disable()
    gc.collect()
    gc.freeze()
    control.send(b'{"ready": true}\n')
    while True:
        job, given = receive(control)
        if job is None:
            os._exit(0)
        children = start(names, confinement, job, given, null)
        for descriptor in given:
            os.close(descriptor)
        control.send((json.dumps(children) + "\n").encode())
        ended = follow(children)
        clean(scratch)
        control.send((json.dumps(ended) + "\n").encode())


main()
