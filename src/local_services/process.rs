//! Finds, signals and awaits our servers by what the kernel says of them, never by a remembered number alone.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Programs that we start; a shell or an editor that happens to stand in a data folder is none of them.
/// `setsid` and `setpriv` are a server in the moment before it becomes one. The watchdog has the same list.
const SERVERS: [&str; 11] = [
    "initdb",
    "postgres",
    "redis-server",
    "rabbitmq-server",
    "erl",
    "erlexec",
    "beam.smp",
    "erl_child_setup",
    "epmd",
    "setsid",
    "setpriv",
];

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) name: String,
}

/// Our servers whose command line names a path inside `folder`, or that stand in it, and their children.
/// A dead one that nobody has reaped is not found.
pub(crate) fn inside(folder: &Path) -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let servers: Vec<Process> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid: u32| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim_end().to_owned();
            SERVERS.contains(&name.as_str()).then_some(Process { pid, name })
        })
        .collect();
    let (ours, others): (Vec<_>, Vec<_>) =
        servers.into_iter().partition(|server| command_line_names(server.pid, folder) || stands_in(server.pid, folder));
    let is_child = |other: &Process| {
        stat_field(other.pid, PARENT).is_some_and(|parent| ours.iter().any(|our| u64::from(our.pid) == parent))
    };
    let children: Vec<_> = others.into_iter().filter(is_child).collect();
    ours.into_iter().chain(children).collect()
}

fn command_line_names(pid: u32, folder: &Path) -> bool {
    let Ok(line) = fs::read(format!("/proc/{pid}/cmdline")) else { return false };
    let mut inside = folder.as_os_str().as_bytes().to_vec();
    inside.push(b'/');
    // Each argument is closed by a NUL; `-D folder` itself counts too.
    line.split(|byte| *byte == 0).any(|argument| {
        argument == folder.as_os_str().as_bytes() || argument.windows(inside.len()).any(|part| part == inside)
    })
}

/// Not readable for root without `CAP_SYS_PTRACE` (a container), hence never the only sign.
fn stands_in(pid: u32, folder: &Path) -> bool {
    fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(folder))
}

/// Sends to one of ours; that it is gone already is what was wanted.
pub(crate) fn signal(process: &Process, signal: Signal) {
    if let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw) {
        kill_process(pid, signal).ok();
    }
}

/// The one that the others depend on: the postmaster, Redis, the Erlang VM.
pub(crate) fn leader(folder: &Path) -> Option<Process> {
    let postmaster = postmaster(folder);
    inside(folder).into_iter().find(|process| match process.name.as_str() {
        "postgres" => Some(process.pid) == postmaster,
        name => matches!(name, "redis-server" | "beam.smp"),
    })
}

/// Ends the server in `folder`, and what is left of an earlier one: politely first, by force after `patience`.
/// Returns the process that outlived even that.
pub(crate) async fn stop(folder: &Path, patience: Duration) -> Result<(), Process> {
    ask_to_stop(folder);
    if emptied(folder, patience).await {
        return Ok(());
    }
    kill(folder).await
}

/// Each in the way that ends it in good order.
pub(crate) fn ask_to_stop(folder: &Path) {
    let postmaster = postmaster(folder);
    for process in inside(folder) {
        match process.name.as_str() {
            // SIGINT is Postgres's fast shutdown; its children are the postmaster's to end.
            "postgres" if Some(process.pid) == postmaster => signal(&process, Signal::INT),
            "postgres" | "erl_child_setup" => (),
            _ => signal(&process, Signal::TERM),
        }
    }
}

/// kill -9 for all servers in `folder`; returns when they are gone.
pub(crate) async fn kill(folder: &Path) -> Result<(), Process> {
    let start = Instant::now();
    loop {
        let left = inside(folder);
        let Some(first) = left.first() else { return Ok(()) };
        if start.elapsed() > Duration::from_secs(10) {
            return Err(first.clone());
        }
        for process in &left {
            signal(process, Signal::KILL);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn emptied(folder: &Path, patience: Duration) -> bool {
    let start = Instant::now();
    while !inside(folder).is_empty() {
        if start.elapsed() > patience {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    true
}

fn postmaster(folder: &Path) -> Option<u32> {
    fs::read_to_string(folder.join("postmaster.pid")).ok()?.lines().next()?.trim().parse().ok()
}

/// A process that no later one can be mistaken for: its number and when it started, in clock ticks since boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) pid: u32,
    pub(crate) started: u64,
}

impl Identity {
    pub(crate) fn own() -> Self {
        let pid = std::process::id();
        Self { pid, started: started(pid).unwrap_or_default() }
    }

    pub(crate) fn is_alive(self) -> bool {
        started(self.pid) == Some(self.started)
    }
}

fn started(pid: u32) -> Option<u64> {
    stat_field(pid, STARTED)
}

/// Places in `/proc/PID/stat` as proc(5) counts them.
const PARENT: usize = 4;
const STARTED: usize = 22;

fn stat_field(pid: u32, field: usize) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is a name in brackets that may hold anything, so count from its end.
    stat.rsplit_once(')')?.1.split_whitespace().nth(field - 3)?.parse().ok()
}
