//! The binary as a process: started, watched through its output, killed. Nothing outlives the tests: each program is started by
//! a thread that lives as long as this process, and asks the kernel to kill it when that thread is gone.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
        mpsc::{Sender, channel},
    },
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use super::eventually::eventually;

/// Variables of the environment; nothing else but `PATH` is passed on.
pub(crate) type Environment = BTreeMap<String, String>;

const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const TAIL_LINES: usize = 40;

/// A running `waybill`, or one that has ended. Dropping it kills it, and shows its last words where a test fails.
pub(crate) struct Program {
    name: String,
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Program {
    /// Starts `waybill` in a folder, where its output is kept too.
    pub(crate) fn start(folder: &Path, arguments: &[&str], environment: &Environment) -> Self {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let name = format!("{} {number}", arguments.first().unwrap_or(&"waybill"));
        let (out, err) = (folder.join(format!("{name}.out")), folder.join(format!("{name}.err")));
        let file = |path: &Path| File::create(path).expect("the test's own folder can be written");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", env!("CARGO_BIN_EXE_waybill")]).args(arguments);
        command.current_dir(folder).env_clear().env("PATH", SEARCH_PATH).envs(environment);
        command.stdin(Stdio::null()).stdout(file(&out)).stderr(file(&err));
        let child = spawn(command).expect("waybill can be started");
        Self { name, child, out, err }
    }

    /// Waits for a line of its output that holds these words. Panics when it ends before, or takes too long.
    pub(crate) async fn says(&mut self, words: &str, within: Duration) -> String {
        eventually(&format!("{} says {words:?}", self.name), within, async || {
            let out = self.output();
            if let Some(line) = out.lines().find(|line| line.contains(words)) {
                return Ok(line.to_owned());
            }
            if let Some(status) = self.status() {
                panic!("{} ended with {status} instead of saying {words:?}\n{}", self.name, self.tail());
            }
            Err(out)
        })
        .await
    }

    /// None while it runs.
    pub(crate) fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self, within: Duration) -> ExitStatus {
        let what = format!("{} ends", self.name);
        eventually(&what, within, async || self.status().ok_or_else(|| self.tail())).await
    }

    /// kill -9, and gone when this returns.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for");
    }

    /// SIGTERM, and its status when it has ended.
    pub(crate) async fn terminate(&mut self, within: Duration) -> ExitStatus {
        if self.status().is_none() {
            kill_process(self.pid(), Signal::TERM).expect("a child can be asked to end");
        }
        self.ended(within).await
    }

    /// SIGSTOP: its connections stay open, and nothing answers.
    pub(crate) fn pause(&self) {
        kill_process(self.pid(), Signal::STOP).expect("a child can be paused");
    }

    /// SIGCONT.
    pub(crate) fn resume(&self) {
        kill_process(self.pid(), Signal::CONT).expect("a child can go on");
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// All that it wrote to standard output so far.
    pub(crate) fn output(&self) -> String {
        lossy(&self.out)
    }

    /// All that it wrote to standard error so far.
    pub(crate) fn log(&self) -> String {
        lossy(&self.err)
    }

    fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }

    /// For the report of a failed test.
    #[expect(clippy::print_stderr, reason = "cargo shows it with the failed test")]
    pub(crate) fn show(&self) {
        eprintln!("--- the last of {} ---\n{}\n{}", self.name, self.output(), self.tail());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            self.show();
        }
    }
}

/// What a program that runs to its end leaves.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs `waybill` to its end.
pub(crate) async fn run(folder: &Path, arguments: &[&str], environment: &Environment, within: Duration) -> Ended {
    let mut program = Program::start(folder, arguments, environment);
    let status = program.ended(within).await;
    Ended { status, out: program.output(), err: program.log() }
}

impl Ended {
    /// 0 to 255; none when a signal ended it.
    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// The last line of the output, as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        let last = self.out.lines().last().unwrap_or_default();
        serde_json::from_str(last).unwrap_or_else(|error| panic!("no JSON at the end ({error}): {self:#?}"))
    }
}

fn lossy(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

type Birth = (Command, Sender<io::Result<Child>>);

/// The kernel means the thread when it asks whether the parent still lives.
fn spawn(command: Command) -> io::Result<Child> {
    static NURSERY: LazyLock<Sender<Birth>> = LazyLock::new(|| {
        let (wishes, waiting) = channel::<Birth>();
        std::thread::spawn(move || {
            while let Ok((mut command, born)) = waiting.recv() {
                born.send(command.spawn()).ok();
            }
        });
        wishes
    });
    let (born, child) = channel();
    NURSERY.send((command, born)).expect("the nursery lives as long as the process");
    child.recv().expect("the nursery answers")
}
