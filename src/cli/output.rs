//! What a person reads on the terminal, and what a machine reads with `--json`.

use std::{
    fmt::Display,
    io::{IsTerminal, Write},
    process::ExitCode,
    time::Duration,
};

use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// It could not be done.
pub(crate) const FAILED: u8 = 1;
/// It was done, and what was found is not good: `check` found a breach, `demo` did not hold.
pub(crate) const NOT_GOOD: u8 = 3;

/// A line of the result, on standard output. A closed pipe ends quietly.
pub(crate) fn line(text: impl Display) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// What is going on, on standard error.
pub(crate) fn note(text: impl Display) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// The chain of causes, for a person; no backtrace.
pub(crate) fn failed(error: &anyhow::Error) -> ExitCode {
    let mut text = String::from("waybill");
    for cause in error.chain().map(ToString::to_string) {
        // Some libraries say their cause's words in their own already.
        if !text.ends_with(&cause) {
            text = text + ": " + &cause;
        }
    }
    note(text);
    ExitCode::from(FAILED)
}

/// An empty table in the style of all tables.
pub(crate) fn table() -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table
}

/// A progress bar on standard error; nothing where that is no terminal.
pub(crate) fn bar(length: u64, what: &'static str) -> ProgressBar {
    let target =
        if std::io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(length), target);
    let style = ProgressStyle::with_template("{msg:22} {wide_bar} {human_pos}/{human_len} {per_sec} {eta} left");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_message(what);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
