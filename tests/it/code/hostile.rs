//! Tests programs that attack the machine: the sandbox contains each program, reports the cause, and leaves no process
//! or file.

use std::net::TcpListener;

use serde_json::{Value, json};

use super::{Bench, assert_reasons, case, holding, verdicts};
use crate::support::text;

/// Limits that end endless programs soon.
const SHORT: &[&str] = &["verify.time_limit_s=1", "verify.workers=2"];

/// Returns the hostile programs with the reasons that they have to end with.
fn programs(bench: &Bench, port: u16) -> Vec<(&'static str, Value)> {
    let quoted = |name: &str| json!(bench.path(name)).to_string();
    let (secret, outside) = (quoted("home/secret"), quoted("outside/file"));
    let open_secret = format!("def f():\n    return open({secret}).read()");
    let list_home = format!("import os\ndef f():\n    return os.listdir({})", quoted("home"));
    let write = format!("def f():\n    open({outside}, 'w').write('x')\n    return 'leaked'");
    let change = format!("import os\ndef f():\n    os.chmod({}, 0o777)\n    return 'leaked'", quoted("home"));
    let connect =
        format!("import socket\ndef f():\n    socket.create_connection(('127.0.0.1', {port}))\n    return 'leaked'");
    let programs = [
        ("code_block:refused", "import os\ndef f():\n    while True:\n        os.fork()".to_owned()),
        ("code_block:memory_limit", "def f():\n    return bytearray(10 * 2**30)".to_owned()),
        ("code_block:time_out", "def f():\n    while True:\n        pass".to_owned()),
        (
            "code_block:time_out",
            "import signal, time\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True:\n    pass".to_owned(),
        ),
        ("code_block:output_limit", "def f():\n    while True:\n        print('x' * 1000)".to_owned()),
        (
            "code_block:output_limit",
            "def f():\n    for i in range(10000):\n        open(str(i), 'w').write('x' * 100000)\n    while True:\n        pass"
                .to_owned(),
        ),
        ("code_block:refused", open_secret),
        ("code_block:refused", list_home),
        ("code_block:refused", "def f():\n    return open('/etc/passwd').read()".to_owned()),
        (
            "code_block:test_failed",
            "import os\ndef f():\n    return os.environ.get('THINKLOOM_SECRET', 'nothing')".to_owned(),
        ),
        (
            "code_block:refused",
            "import os\ndef f():\n    return open(f'/proc/{os.getppid()}/environ').read()".to_owned(),
        ),
        ("code_block:refused", write),
        ("code_block:refused", change),
        ("code_block:refused", connect),
        ("code_block:refused", "import os\ndef f():\n    os.kill(os.getppid(), 9)\n    return 'leaked'".to_owned()),
        (
            "code_block:refused",
            "import os, time\ndef f():\n    if os.fork() == 0:\n        os.setsid()\n        if os.fork() == 0:\n            time.sleep(60)\n    return 'leaked'"
                .to_owned(),
        ),
        ("code_block:refused", "import subprocess\ndef f():\n    subprocess.Popen(['sleep', '60'])\n    return 'leaked'".to_owned()),
        ("code_block:killed:SIGSEGV", "import ctypes\nctypes.string_at(0)".to_owned()),
    ];
    programs.into_iter().map(|(reason, program)| (reason, case(&program, &json!(["assert f() == 'leaked'"])))).collect()
}

#[test]
fn hostile_programs_are_contained_each_with_its_cause_and_nothing_is_left_of_them() {
    let bench = Bench::new();
    std::fs::write(bench.path("home/secret"), "leaked").unwrap();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    let programs = programs(&bench, server.local_addr().unwrap().port());
    assert!(programs.len() >= 10);
    assert_reasons(&bench, &programs, SHORT);
    bench.assert_nothing_is_left();
    assert!(!bench.path("outside/file").exists());
    assert_eq!(server.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "nobody connected");
}

#[test]
fn a_killed_grader_takes_its_programs_with_it_and_the_next_one_cleans_up() {
    let bench = Bench::new();
    let sleeper = holding("import time\ntime.sleep(600)");
    let command = &mut bench.command(&[sleeper], &["verify.time_limit_s=600"]);
    let running = crate::support::Running::start(command);
    let inside = |path: std::path::PathBuf| path.starts_with(bench.path("temporary"));
    // The interpreter, the tests and the program: their disk is theirs alone, so that only they show where they are.
    let at_work = || {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        processes.filter(|process| std::fs::read_link(process.path().join("cwd")).is_ok_and(inside)).count()
    };
    crate::support::until("the program", || (at_work() == 3).then_some(()));
    assert!(running.kill());
    crate::support::until("the end of the program", || (at_work() == 0).then_some(()));
    let left = std::fs::read_dir(bench.path("temporary")).unwrap().count();
    assert!(left > 0, "nobody was left to remove its directory");
    bench.grade(&[holding("")], &[]).assert_code(0);
    bench.assert_nothing_is_left();
}

#[test]
fn threads_files_and_a_pair_of_sockets_are_no_harm() {
    let bench = Bench::new();
    let tests = json!(["assert f() == 3"]);
    let harmless = [
        "import threading\ndef f():\n    found = []\n    t = threading.Thread(target=lambda: found.append(3))\n    t.start()\n    t.join()\n    return found[0]",
        "import tempfile\ndef f():\n    with tempfile.TemporaryFile('w+') as file:\n        file.write('3')\n        file.seek(0)\n        return int(file.read())",
        "import asyncio\nasync def g():\n    await asyncio.sleep(0.01)\n    return 3\ndef f():\n    return asyncio.run(g())",
        "import time, random, decimal, datetime, hashlib, sqlite3\ndef f():\n    time.localtime()\n    return 3",
    ];
    let expected: Vec<(&str, Value)> =
        harmless.iter().map(|program| ("code_block:tests_passed", case(program, &tests))).collect();
    assert_reasons(&bench, &expected, &[]);
}

#[test]
fn verdicts_come_in_the_order_of_their_cases_whatever_runs_longest() {
    let bench = Bench::new();
    let mut cases = Vec::new();
    for index in 0..12 {
        let pause = if index % 3 == 0 { 0.3 } else { 0.0 };
        let mut case = holding(&format!("import time\ntime.sleep({pause})"));
        case["id"] = json!(index);
        cases.push(case);
        cases.push(json!({"id": format!("n{index}"), "kind": "numeric", "gold": 1, "response": "1"}));
    }
    let outcome = bench.grade(&cases, &["verify.workers=3"]).assert_code(0);
    let ids: Vec<Value> = verdicts(&outcome).iter().map(|verdict| verdict["id"].clone()).collect();
    let expected: Vec<Value> = cases.iter().map(|case| case["id"].clone()).collect();
    assert_eq!(ids, expected);
    assert!(verdicts(&outcome).iter().all(|verdict| text(verdict, "verdict") == "correct"), "{}", outcome.stdout);
}
