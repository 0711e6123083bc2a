//! A process under test: its output is captured while it runs, every wait has an end, and it does not outlive its test.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

pub(crate) use rustix::process::Signal;
use serde_json::Value;

use super::{PATIENCE, until};

/// Our binary with `arguments`, in an empty folder's stead: none of the settings of whoever runs the tests reach it.
pub(crate) fn kafka_taos(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kafka-taos"));
    command.args(arguments).current_dir(env!("CARGO_TARGET_TMPDIR"));
    for (name, _) in std::env::vars_os() {
        if ["KAFKA_", "TDENGINE_", "QUEUE_"].iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    command
}

/// Lines as they come.
#[derive(Clone, Default)]
struct Lines(Arc<(Mutex<Vec<String>>, Condvar)>);

impl Lines {
    fn read(from: impl Read + Send + 'static) -> (Self, JoinHandle<()>) {
        let lines = Self::default();
        let into = lines.clone();
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
                into.0.0.lock().unwrap().push(String::from_utf8_lossy(&line).into_owned());
                into.0.1.notify_all();
            }
        });
        (lines, reader)
    }

    fn text(&self) -> String {
        self.0.0.lock().unwrap().join("\n")
    }

    /// The first line that holds `part`, or `None` once `PATIENCE` is over.
    fn wait_for(&self, part: &str) -> Option<String> {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.0.0.lock().unwrap();
        loop {
            if let Some(line) = lines.iter().find(|line| line.contains(part)) {
                return Some(line.clone());
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            lines = self.0.1.wait_timeout(lines, left).unwrap().0;
        }
    }
}

/// A running process. Dropped, it is killed.
pub(crate) struct Process {
    name: String,
    child: Child,
    stdout: Lines,
    stderr: Lines,
    readers: Vec<JoinHandle<()>>,
}

/// How a process ended, and all it said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Process {
    /// Starts `command` without any standard input.
    pub(crate) fn start(command: &mut Command) -> Self {
        Self::start_with(command.stdin(Stdio::null()))
    }

    fn start_with(command: &mut Command) -> Self {
        let name = format!("{:?}", command.get_args().collect::<Vec<_>>());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("start a process");
        let (stdout, out) = Lines::read(child.stdout.take().expect("piped"));
        let (stderr, err) = Lines::read(child.stderr.take().expect("piped"));
        Self { name, child, stdout, stderr, readers: vec![out, err] }
    }

    /// The first line on standard output that holds `part`.
    #[track_caller]
    pub(crate) fn stdout_line(&self, part: &str) -> String {
        self.stdout.wait_for(part).unwrap_or_else(|| panic!("no {part:?} on standard output of {}", self.said()))
    }

    /// The first line on standard error that holds `part`.
    #[track_caller]
    pub(crate) fn stderr_line(&self, part: &str) -> String {
        self.stderr.wait_for(part).unwrap_or_else(|| panic!("no {part:?} on standard error of {}", self.said()))
    }

    pub(crate) fn said(&self) -> String {
        format!(
            "{}\n--- standard output\n{}\n--- standard error\n{}",
            self.name,
            self.stdout.text(),
            self.stderr.text()
        )
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.id()).ok().and_then(rustix::process::Pid::from_raw).expect("a process id");
        rustix::process::kill_process(pid, signal).expect("send a signal");
    }

    /// How it ended, if it has.
    pub(crate) fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("ask for the status of a child")
    }

    /// Waits until it ends by itself.
    #[track_caller]
    pub(crate) fn wait(mut self) -> Ended {
        let began = Instant::now();
        let status = loop {
            match self.status() {
                Some(status) => break status,
                None if began.elapsed() < PATIENCE => std::thread::sleep(std::time::Duration::from_millis(10)),
                None => panic!("still running after {PATIENCE:?}: {}", self.said()),
            }
        };
        self.readers.drain(..).for_each(|reader| reader.join().expect("a reader"));
        let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
        Ended { code, stdout: self.stdout.text(), stderr: self.stderr.text() }
    }

    /// Sends SIGKILL and waits until it is gone.
    pub(crate) fn kill(mut self) {
        self.signal(Signal::KILL);
        until("a killed process is gone", || self.status());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// Holds the exit code against `code`.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        let Self { stdout, stderr, .. } = &self;
        assert_eq!(self.code, Some(code), "exit code\n--- standard output\n{stdout}\n--- standard error\n{stderr}");
        self
    }

    /// The last line of standard output, as the JSON that it must be.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        let last = self.stdout.lines().last().unwrap_or_default();
        serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {last:?}\n{}", self.stderr))
    }
}

/// Runs `command` to its end.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> Ended {
    Process::start(command).wait()
}

/// Runs `command` to its end, with `input` on its standard input.
#[track_caller]
pub(crate) fn run_with_input(command: &mut Command, input: &[u8]) -> Ended {
    let mut process = Process::start_with(command.stdin(Stdio::piped()));
    process.child.stdin.take().expect("piped").write_all(input).expect("write to standard input");
    process.wait()
}
