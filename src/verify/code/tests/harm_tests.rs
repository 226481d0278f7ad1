//! Programs that try to do harm: each is contained, with its own cause.

use super::{assert_ends, case, verifier};
use crate::CodeCase;
use crate::sandbox::{Disk, Sandbox, SandboxOptions};

fn leaks(program: &str) -> CodeCase {
    case(program, &["assert f() == 'leaked'"])
}

#[test]
fn hostile_programs_end_each_with_its_cause() {
    let verifier = verifier(1);
    for (rule, program) in [
        ("refused", "import os\ndef f():\n    while True:\n        os.fork()"),
        ("memory_limit", "def f():\n    return bytearray(10 * 2**30)"),
        ("memory_limit", "def f():\n    x = []\n    while True:\n        x.append(bytearray(2**27))"),
        ("time_out", "def f():\n    while True:\n        pass"),
        ("time_out", "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True:\n    pass"),
        ("time_out", "import time\ndef f():\n    time.sleep(600)"),
        ("time_out", "import threading\ndef f():\n    threading.Event().wait()"),
        ("time_out", "import os\ndef f():\n    os.read(3, 1)"),
        ("output_limit", "def f():\n    while True:\n        print('x' * 1000)"),
        (
            "output_limit",
            "def f():\n    for i in range(10000):\n        open(str(i), 'w').write('x' * 100000)\n    while True:\n        pass",
        ),
        ("output_limit", "def f():\n    open('large', 'wb').write(bytes(20 << 20))"),
        ("output_limit", "def f():\n    return 'x' * (40 << 20)"),
        ("refused", "def f():\n    return open('/etc/passwd').read()"),
        ("refused", "import os\ndef f():\n    return os.listdir('/')"),
        ("refused", "import os\ndef f():\n    return open(f'/proc/{os.getppid()}/environ').read()"),
        ("refused", "def f():\n    open('/tmp/outside', 'w').write('x')"),
        ("refused", "import os\ndef f():\n    os.chmod('/tmp', 0o777)"),
        ("refused", "import os\ndef f():\n    os.symlink('/etc/passwd', 'x')"),
        ("refused", "import os\ndef f():\n    os.mkdir('x')"),
        ("refused", "import os\ndef f():\n    os.mkfifo('x')"),
        ("refused", "import socket\ndef f():\n    socket.create_connection(('127.0.0.1', 9))"),
        ("refused", "import os\ndef f():\n    os.kill(os.getppid(), 9)"),
        ("refused", "import os\ndef f():\n    os.killpg(0, 9)"),
        ("refused", "import subprocess\ndef f():\n    subprocess.Popen(['sleep', '60'])"),
        ("exception:ValueError", "import resource\ndef f():\n    resource.setrlimit(resource.RLIMIT_CPU, (1, 1))"),
        ("killed:SIGSEGV", "import ctypes\nctypes.string_at(0)"),
        ("killed:SIGSEGV", "import os\ndef f():\n    os.abort()"),
        (
            "refused",
            "import fcntl, struct\ndef f():\n    fcntl.ioctl(open('x', 'w'), 0x40086602, struct.pack('i', 16))",
        ),
        ("refused", "import fcntl\ndef f():\n    fcntl.fcntl(open('x', 'w'), fcntl.F_SETLEASE, fcntl.F_WRLCK)"),
        ("refused", "import fcntl, os\ndef f():\n    fcntl.fcntl(os.open('.', os.O_RDONLY), fcntl.F_NOTIFY, 1)"),
        ("exception:KeyError", "import os\ndef f():\n    return os.environ['HOME']"),
        (
            "test_failed",
            "import ctypes\ndef f():\n    return ctypes.CDLL(None).syscall(206, 1, ctypes.create_string_buffer(8))",
        ),
    ] {
        let reason = super::reason(&verifier, &leaks(program));
        assert!(reason.ends_with(&format!(":{rule}")), "{rule} expected, not {reason}: {program}");
    }
}

/// Programs that take disk space without a name, without a length, or outside the counted places.
fn hiding_places() -> Vec<(&'static str, &'static str)> {
    vec![
        ("refused", "import os\ndef f():\n    return os.memfd_create('x')"),
        (
            "refused",
            "import fcntl, os\ndef f():\n    r, w = os.pipe()\n    fcntl.fcntl(w, 1031, 1 << 20)\n    return 'leaked'",
        ),
        (
            "refused",
            "from multiprocessing import shared_memory\ndef f():\n    return shared_memory.SharedMemory(create=True, size=1 << 20)",
        ),
        ("refused", "def f():\n    open('/dev/shm/x', 'w').write('x')\n    return 'leaked'"),
        ("refused", "import os\ndef f():\n    os.setuid(0)\n    return 'leaked'"),
        (
            "output_limit",
            "import os\ndef f():\n    for i in range(20):\n        d = os.open(str(i), os.O_CREAT | os.O_RDWR)\n        os.posix_fallocate(d, 0, 15 << 20)\n    while True: pass",
        ),
        ("output_limit", "def f():\n    for i in range(2000):\n        open(str(i), 'w')\n    while True: pass"),
    ]
}

#[test]
fn room_is_taken_in_the_programs_own_share_or_not_at_all() {
    for disk in [Disk::Private, Disk::Shared] {
        let sandbox = Sandbox::open_on(&options(2), disk).unwrap();
        let verifier = crate::CodeVerifier::new(Ok(sandbox));
        for (rule, program) in hiding_places() {
            let reason = super::reason(&verifier, &leaks(program));
            assert!(reason.ends_with(&format!(":{rule}")), "{disk:?}: {rule} expected, not {reason}: {program}");
        }
        // Space beyond the end of a file, which the length does not show.
        let keep_size = "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\ndef f():\n    d = os.open('x', os.O_CREAT | os.O_RDWR)\n    for i in range(100):\n        libc.fallocate(d, 1, ctypes.c_long(i << 20), ctypes.c_long(1 << 20))\n    return os.fstat(d).st_blocks * 512 <= 64 << 20";
        let reason = super::reason(&verifier, &case(keep_size, &["assert f()"]));
        assert!(reason.ends_with("tests_passed"), "{disk:?}: {reason}");
        // A hole takes no space, and a program may make one.
        let sparse = "def f():\n    with open('x', 'wb') as file:\n        file.truncate(8 << 20)\n    return 3";
        let reason = super::reason(&verifier, &case(sparse, &["assert f() == 3"]));
        assert!(reason.ends_with("tests_passed"), "{disk:?}: {reason}");
    }
}

#[test]
fn a_program_that_fills_its_disk_harms_nobody_beside_it() {
    let verifier = super::verifier(2);
    let greedy = leaks(
        "import os\nkept = []\ndef f():\n    for i in range(20):\n        file = open(str(i), 'wb')\n        os.unlink(str(i))\n        file.write(bytes(10 << 20))\n        kept.append(file)\n    return 'leaked'",
    );
    let honest = case(
        "def f():\n    for i in range(40):\n        open('a', 'wb').write(bytes(1 << 20))\n    return 3",
        &["assert f() == 3"],
    );
    std::thread::scope(|scope| {
        let verifier = &verifier;
        let run = |case| scope.spawn(move || super::reason(verifier, case));
        let (bad, good): (Vec<_>, Vec<_>) = (0..4).map(|_| (run(&greedy), run(&honest))).unzip();
        assert!(bad.into_iter().all(|thread| thread.join().unwrap().ends_with("output_limit")));
        assert!(good.into_iter().all(|thread| thread.join().unwrap().ends_with("tests_passed")));
    });
}

fn options(time_limit_s: u32) -> SandboxOptions {
    SandboxOptions {
        strict: true,
        python: "python3".to_owned(),
        time_limit_s,
        memory_limit_mib: 512,
        output_limit_kib: 256,
    }
}

#[test]
fn threads_files_and_a_pair_of_sockets_are_no_harm() {
    let tests = ["assert f() == 3"];
    let cases: Vec<(&str, CodeCase)> = [
        "import threading\ndef f():\n    found = []\n    t = threading.Thread(target=lambda: found.append(3))\n    t.start()\n    t.join()\n    return found[0]",
        "import tempfile\ndef f():\n    with tempfile.TemporaryFile('w+') as file:\n        file.write('3')\n        file.seek(0)\n        return int(file.read())",
        "import os\ndef f():\n    open('a', 'w').write('3')\n    os.rename('a', 'b')\n    x = int(open('b').read())\n    os.unlink('b')\n    return x + len(os.listdir('.'))",
        "import asyncio\nasync def g():\n    await asyncio.sleep(0.01)\n    return 3\ndef f():\n    return asyncio.run(g())",
        "import time, random, decimal, datetime, hashlib, sqlite3\ndef f():\n    time.localtime()\n    return 3",
        "import concurrent.futures\ndef f():\n    with concurrent.futures.ThreadPoolExecutor(4) as pool:\n        return sum(pool.map(int, '111'))",
        "import resource, sys\ndef f():\n    sys.setrecursionlimit(10 ** 6)\n    resource.setrlimit(resource.RLIMIT_STACK, resource.getrlimit(resource.RLIMIT_STACK))\n    return 3",
    ]
    .into_iter()
    .map(|program| (":tests_passed", case(program, &tests)))
    .collect();
    assert_ends(&cases);
}

#[test]
fn nothing_of_one_program_reaches_the_next() {
    let verifier = verifier(2);
    let dirty = "import builtins, sys, os, json, random\nbuiltins.len = lambda x: 7\nsys.leak = 1\njson.leak = 1\nrandom.seed(1)\n\
                 sys.setrecursionlimit(500)\nos.environ['LEAK'] = '1'\nopen('leak', 'w').write('x')\nfor d in range(3, 9):\n    \
                 try: os.dup2(1, d + 10)\n    except OSError: pass\ndef f():\n    return 3";
    let clean = "import builtins, sys, os, json\ndef f():\n    return [len([1]), hasattr(sys, 'leak'), hasattr(json, 'leak'), os.environ.get('LEAK'), os.listdir('.'), sys.getrecursionlimit() > 900, len([d for d in range(64) if is_open(d)])]\ndef is_open(d):\n    try:\n        os.fstat(d)\n        return True\n    except OSError:\n        return False";
    for _ in 0..2 {
        assert!(super::reason(&verifier, &case(dirty, &["assert f() == 3"])).ends_with("tests_passed"));
        let reason = super::reason(&verifier, &case(clean, &["assert f() == [1, False, False, None, [], True, 4]"]));
        assert!(reason.ends_with("tests_passed"), "{reason}");
    }
    assert_eq!(verifier.sandbox().unwrap().groups().len(), 1, "one interpreter did it all");
}

#[test]
fn files_without_a_name_count_against_the_disk() {
    let unlinked = "import os\nkept = []\ndef f():\n    for i in range(20):\n        file = open(str(i), 'wb')\n        os.unlink(str(i))\n        file.write(bytes(10 << 20))\n        file.flush()\n        kept.append(file)\n    return 'leaked'";
    let nameless = "import os\nkept = []\ndef f():\n    for i in range(20):\n        d = os.open('.', os.O_TMPFILE | os.O_RDWR)\n        n = 0\n        while n < 10 << 20: n += os.write(d, bytes(1 << 20))\n        kept.append(d)\n    return 'leaked'";
    assert_ends(&[(":output_limit", leaks(unlinked)), (":output_limit", leaks(nameless))]);
    let shared = crate::CodeVerifier::new(Ok(Sandbox::open_on(&options(2), Disk::Shared).unwrap()));
    let many =
        "def f():\n    for i in range(20):\n        open(str(i), 'wb').write(bytes(10 << 20))\n    while True: pass";
    let rename = "import os\ndef f():\n    open('a', 'w').write('x')\n    os.rename('a', 'b')";
    for (rule, program) in [("refused", unlinked), ("refused", nameless), ("refused", rename), ("output_limit", many)] {
        let reason = super::reason(&shared, &leaks(program));
        assert!(reason.ends_with(&format!(":{rule}")), "{rule} expected, not {reason}: {program}");
    }
    let honest = "def f():\n    open('a', 'w').write('leaked')\n    return open('a').read()";
    assert!(super::reason(&shared, &leaks(honest)).ends_with("tests_passed"));
}
