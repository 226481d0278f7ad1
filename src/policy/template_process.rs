//! Renders chat templates in a separate process, which can be killed at any moment.
//!
//! A template is a program that comes with a model. Fuel bounds its steps and most of its output, but neither a list
//! that holds another list twice, nested sixty times, and is printed or compared; nor expressions that nest until the
//! stack overflows. Therefore thinkloom starts itself again, connected by a socket pair, under limits of the operating
//! system: [`CPU_SECONDS`] per rendering, [`HEAP_BYTES`] of memory in addition to a stack of [`STACK_BYTES`], and no
//! file to write. The process holds no secrets, stays warm between renderings, and ends when its socket closes. A
//! process that ends earlier is replaced, so that one conversation cannot affect another. A rendering that the machine
//! interrupted is repeated once.
//!
//! A frame is a tag, the length of the content (u32, little-endian), and the content. thinkloom sends a template (`S`),
//! the names of functions (`F`), values (`R`, JSON) and results of functions (`A`); the process returns a text (`T`) or
//! an error (`E`), or requests the result of a function (`C`, JSON: name and text).

#![expect(clippy::disallowed_methods, reason = "a process beside the run-time; of /proc only contents count")]

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use minijinja::Value;

use super::compiled::{Compiled, TemplateError, TextFunction};

/// The CPU time of one rendering; the templates of known models take a millisecond.
const CPU_SECONDS: u64 = if cfg!(test) { 1 } else { 10 };
/// Memory for values and texts.
const HEAP_BYTES: u64 = 384 << 20;
/// The stack of the thread that compiles and renders.
const STACK_BYTES: usize = 64 << 20;
/// The wall time of a reply, for a process that does not run, as on a suspended machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// The maximum size of one frame, in bytes.
const FRAME_BYTES_MAX: usize = 256 << 20;
/// The argument that starts thinkloom as a template process.
const ARGUMENT: &str = "--render-chat-templates";

/// How the process is started; unset if this program may not understand the argument.
static PROGRAM: OnceLock<fn() -> Command> = OnceLock::new();

/// Declares that this program calls [`serve_if_asked`] first, so that templates can be rendered in a separate process.
pub fn render_apart() {
    let _ = PROGRAM.set(|| {
        // The running file, even if another file has its name by now.
        let mut command = match cfg!(target_os = "linux") {
            true => Command::new("/proc/self/exe"),
            false => Command::new(std::env::current_exe().unwrap_or_default()),
        };
        command.arg(ARGUMENT).env_clear();
        // The paths in which the loader finds the program's libraries.
        for name in ["LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
    });
}

/// Serves templates and returns true, if this process was started as a template process.
#[must_use]
pub fn serve_if_asked() -> bool {
    let is_asked = std::env::args_os().nth(1).is_some_and(|argument| argument == ARGUMENT);
    if is_asked {
        serve_stdin();
    }
    is_asked
}

/// A template that another process renders.
#[derive(Debug)]
pub(super) struct Apart {
    start: fn() -> Command,
    source: String,
    functions: Vec<(&'static str, TextFunction)>,
    process: Option<Process>,
    starts: u32,
}

#[derive(Debug)]
struct Process {
    child: Child,
    socket: UnixStream,
}

impl Drop for Process {
    fn drop(&mut self) {
        // The process may be in any state.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Apart {
    /// Compiles a template; `None` if separate rendering is not enabled, or no process can be started.
    ///
    /// # Errors
    /// [`TemplateError`] if the template does not compile within the limits.
    pub(super) fn new(source: &str) -> Result<Option<Self>, TemplateError> {
        match PROGRAM.get() {
            Some(start) => Self::with_program(source, *start),
            None => Ok(None),
        }
    }

    fn with_program(source: &str, start: fn() -> Command) -> Result<Option<Self>, TemplateError> {
        let mut apart = Self { start, source: source.to_owned(), functions: Vec::new(), process: None, starts: 0 };
        match apart.begin() {
            Ok(process) => apart.process = Some(process),
            Err(error) => {
                tracing::warn!("chat templates are rendered in this process, because no other can be started: {error}");
                return Ok(None);
            }
        }
        match apart.ask(&[(b'S', source.as_bytes())]) {
            Ok(_) => Ok(Some(apart)),
            Err(Refused::NotStarted(cause)) => {
                tracing::warn!("chat templates are rendered in this process, because no other can be started: {cause}");
                Ok(None)
            }
            Err(refused) => Err(refused.told()),
        }
    }

    /// Adds a function that templates may call.
    pub(super) fn add_text_function(&mut self, name: &'static str, function: TextFunction) {
        self.functions.push((name, function));
        if self.process.is_some() {
            // A process that fails here is replaced at the next rendering, and its successor receives the function.
            let _ = self.ask(&[(b'F', name.as_bytes())]);
        }
    }

    /// Renders the template.
    ///
    /// # Errors
    /// [`TemplateError`] if the template rejects the values, or exceeds the limits.
    pub(super) fn render(&mut self, values: &Value) -> Result<String, TemplateError> {
        let values = serde_json::to_vec(values).map_err(|error| TemplateError::told(error.to_string()))?;
        if values.len() > FRAME_BYTES_MAX {
            return Err(TemplateError::told(format!("its messages have {} bytes as JSON", values.len())));
        }
        match self.render_once(&values) {
            Err(Refused::Cut(_)) => self.render_once(&values).map_err(Refused::told),
            result => result.map_err(Refused::told),
        }
    }

    fn render_once(&mut self, values: &[u8]) -> Result<String, Refused> {
        if self.process.is_none() {
            let process = self
                .begin()
                .map_err(|error| Refused::Told(format!("the process that renders it cannot be started: {error}")))?;
            self.process = Some(process);
            let source = self.source.clone();
            let functions = self.functions.clone();
            let names = functions.iter().map(|(name, _)| (b'F', name.as_bytes()));
            let frames: Vec<_> = std::iter::once((b'S', source.as_bytes())).chain(names).collect();
            self.ask(&frames)?;
        }
        self.ask(&[(b'R', values)])
    }

    fn begin(&mut self) -> io::Result<Process> {
        self.starts += 1;
        let (ours, theirs) = UnixStream::pair()?;
        let mut command = (self.start)();
        // One memory arena; a separate process group, which the terminal's Ctrl-C does not reach.
        command.env("MALLOC_ARENA_MAX", "1").process_group(0);
        let theirs = std::os::fd::OwnedFd::from(theirs);
        let child = command.stdin(theirs).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        Ok(Process { child, socket: ours })
    }

    /// Sends frames, and waits for the reply to the last one.
    fn ask(&mut self, frames: &[(u8, &[u8])]) -> Result<String, Refused> {
        let Some(mut process) = self.process.take() else {
            return Err(Refused::Told("it has no process".into()));
        };
        match converse(&process.socket, frames, &self.functions) {
            Ok(answer) => {
                self.process = Some(process);
                answer.map_err(Refused::Told)
            }
            Err(error) => {
                // The process may wait for more input.
                let _ = process.socket.shutdown(std::net::Shutdown::Both);
                Err(cause_of_end(&mut process.child, &error))
            }
        }
    }
}

/// Why there is no text.
enum Refused {
    /// The template failed, or caused the failure.
    Told(String),
    /// The process ended, but not because of a limit.
    Cut(String),
    /// The system could not load the program.
    NotStarted(String),
}

impl Refused {
    fn told(self) -> TemplateError {
        let (Self::Told(cause) | Self::Cut(cause) | Self::NotStarted(cause)) = self;
        TemplateError::told(cause)
    }
}

/// Sends frames and reads the reply to the last one: a text or an error.
fn converse(
    socket: &UnixStream,
    frames: &[(u8, &[u8])],
    functions: &[(&'static str, TextFunction)],
) -> io::Result<Result<String, String>> {
    let end = Instant::now() + PATIENCE;
    let wait = || {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::Error::from(io::ErrorKind::TimedOut)) } else { Ok(Some(left)) }
    };
    let mut answer = Ok(String::new());
    for (tag, content) in frames {
        socket.set_write_timeout(wait()?)?;
        send(socket, *tag, content)?;
        loop {
            socket.set_read_timeout(wait()?)?;
            let (tag, content) = receive(socket)?;
            let text = String::from_utf8(content).map_err(io::Error::other)?;
            match tag {
                b'T' => answer = Ok(text),
                b'E' => return Ok(Err(text)),
                b'C' => {
                    let (name, argument): (String, String) = serde_json::from_str(&text)?;
                    let function = functions.iter().find(|(known, _)| *known == name);
                    let result = function.map(|(_, function)| function(argument)).unwrap_or_default();
                    send(socket, b'A', result.as_bytes())?;
                    continue;
                }
                _ => return Err(io::Error::other("an answer of an unknown kind")),
            }
            break;
        }
    }
    Ok(answer)
}

/// Returns why a process sent no reply.
fn cause_of_end(child: &mut Child, error: &io::Error) -> Refused {
    if matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock) {
        return Refused::Told(format!("it does not come to an end within {} s", PATIENCE.as_secs()));
    }
    let status = child.wait().ok();
    // The exit code of a loader that does not find a library.
    if status.is_some_and(|status| status.code() == Some(127)) {
        return Refused::NotStarted("the system cannot load it".to_owned());
    }
    match status.and_then(|status| status.signal()) {
        // SIGXCPU.
        Some(24) => Refused::Told(format!("it does not come to an end within {CPU_SECONDS} s of computing")),
        // SIGABRT: a Rust program without memory or stack. SIGSEGV, SIGBUS: the guard page below the stack.
        Some(6 | 11 | 7 | 10) => {
            let most = HEAP_BYTES >> 20;
            Refused::Told(format!("it nests far deeper than any template, or needs more than {most} MiB of memory"))
        }
        _ => Refused::Cut(format!("the process that renders it ended: {error}")),
    }
}

fn send(mut socket: &UnixStream, tag: u8, content: &[u8]) -> io::Result<()> {
    let length = u32::try_from(content.len()).ok().filter(|length| *length as usize <= FRAME_BYTES_MAX);
    let length = length.ok_or_else(|| io::Error::other("more than a frame holds"))?;
    let mut head = [tag, 0, 0, 0, 0];
    head[1..].copy_from_slice(&length.to_le_bytes());
    socket.write_all(&head)?;
    socket.write_all(content)
}

fn receive(mut socket: &UnixStream) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 5];
    socket.read_exact(&mut head)?;
    let [tag, length @ ..] = head;
    let length = u32::from_le_bytes(length) as usize;
    if length > FRAME_BYTES_MAX {
        return Err(io::Error::other("more than a frame holds"));
    }
    let mut content = Vec::new();
    socket.take(length as u64).read_to_end(&mut content)?;
    if content.len() < length {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
    }
    Ok((tag, content))
}

/// The template process's side: replies until the socket at standard input closes.
fn serve_stdin() {
    let Ok(socket) = io::stdin().as_fd().try_clone_to_owned() else { return };
    let socket = Arc::new(UnixStream::from(socket));
    limit_once();
    let serve = move || {
        let mut template: Option<Compiled> = None;
        while let Ok((tag, content)) = receive(&socket) {
            limit_computing();
            let answer = match answer(tag, &content, &mut template, &socket) {
                Ok(text) if text.len() > FRAME_BYTES_MAX => Err("it writes far more than any template".to_owned()),
                answer => answer,
            };
            let sent = match &answer {
                Ok(text) => send(&socket, b'T', text.as_bytes()),
                Err(error) => send(&socket, b'E', error.as_bytes()),
            };
            if sent.is_err() {
                return;
            }
        }
    };
    // A panic ends the thread, and with it the process: the other side sees the socket close.
    if let Ok(thread) = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(serve) {
        let _ = thread.join();
    }
}

fn answer(
    tag: u8,
    content: &[u8],
    template: &mut Option<Compiled>,
    socket: &Arc<UnixStream>,
) -> Result<String, String> {
    let text = || std::str::from_utf8(content).map_err(|error| error.to_string());
    match (tag, template) {
        (b'S', template) => {
            *template = Some(Compiled::new(text()?).map_err(|error| error.cause().to_owned())?);
            Ok(String::new())
        }
        (b'F', Some(template)) => {
            let (name, socket) = (text()?.to_owned(), Arc::clone(socket));
            let asked = name.clone();
            template.add_function(name, move |argument: String| call(&socket, &asked, &argument));
            Ok(String::new())
        }
        (b'R', Some(template)) => {
            // The text is parsed directly into the engine's values, so keys keep their order.
            let values: Value = serde_json::from_slice(content).map_err(|error| error.to_string())?;
            template.render(values).map_err(|error| error.cause().to_owned())
        }
        _ => Err("a question of an unknown kind".to_owned()),
    }
}

/// Requests the result of a function from the other side.
fn call(socket: &UnixStream, name: &str, argument: &str) -> Result<String, minijinja::Error> {
    let asked = || -> io::Result<String> {
        send(socket, b'C', serde_json::to_string(&(name, argument))?.as_bytes())?;
        let (_, content) = receive(socket)?;
        String::from_utf8(content).map_err(io::Error::other)
    };
    asked().map_err(|error| minijinja::Error::new(minijinja::ErrorKind::InvalidOperation, error.to_string()))
}

/// Sets the limits of this process for all renderings.
fn limit_once() {
    use rustix::process::Resource;
    // The program's own memory mappings do not count for the template.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let own = status.lines().find_map(|line| line.strip_prefix("VmSize:")?.trim().strip_suffix(" kB")?.parse().ok());
    let own_bytes = own.unwrap_or(1_u64 << 20) << 10;
    set(Resource::As, own_bytes + STACK_BYTES as u64 + HEAP_BYTES);
    set(Resource::Core, 0);
    set(Resource::Fsize, 0);
}

/// Sets the CPU time limit of this process for one more rendering.
fn limit_computing() {
    // User and system time follow the program's name, in hundredths of a second.
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields).split(' ');
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    set(rustix::process::Resource::Cpu, ticks / 100 + 1 + CPU_SECONDS);
}

/// Changes the soft limit of a resource; the hard limit stays.
fn set(resource: rustix::process::Resource, current: u64) {
    let maximum = rustix::process::getrlimit(resource).maximum;
    let current = maximum.map_or(current, |maximum| maximum.min(current));
    let _ = rustix::process::setrlimit(resource, rustix::process::Rlimit { current: Some(current), maximum });
}

#[cfg(test)]
#[path = "template_process_tests.rs"]
mod tests;
