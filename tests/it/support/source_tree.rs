//! The repository's own sources, read as text: code, quoted text and comments told apart, line by line.
//! It knows enough of Rust's lexer for that and nothing of its grammar.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// Every `.rs` and `.sql` file and every `Cargo.toml` of the repository, in the order of their paths.
pub(crate) static FILES: LazyLock<Vec<SourceFile>> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    collect(root, &mut paths);
    paths.sort();
    paths.iter().filter_map(|path| SourceFile::read(root, path)).collect()
});

pub(crate) struct SourceFile {
    /// Relative to the repository, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) lines: Vec<Line>,
}

/// One line in three views of the same length: what is not in a view is blank there.
pub(crate) struct Line {
    /// From 1.
    pub(crate) number: usize,
    /// Without comments and without the contents of strings.
    pub(crate) code: String,
    /// Code and strings, without comments: where SQL is to be found.
    pub(crate) with_strings: String,
    pub(crate) comment: String,
    /// In a file of tests, or in the inline test module that closes a file.
    pub(crate) is_test: bool,
}

impl SourceFile {
    /// `None` for a file that went away while we looked.
    fn read(root: &Path, path: &Path) -> Option<Self> {
        let text = fs::read_to_string(path).ok()?;
        let path = path.strip_prefix(root).expect("collected below the root").to_string_lossy().replace('\\', "/");
        let mut lines = if path.ends_with(".rs") { split(&text) } else { plain(&text) };
        let tests_from = if is_test_file(&path) { Some(0) } else { inline_tests(&lines) };
        for line in &mut lines[tests_from.unwrap_or(usize::MAX).min(text.lines().count())..] {
            line.is_test = true;
        }
        Some(Self { path, text, lines })
    }

    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// The file `place`, `place.rs`, or any file in the folder `place`.
    pub(crate) fn is_in(&self, place: &str) -> bool {
        self.path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest == ".rs" || rest.starts_with('/'))
    }
}

/// Does `line` contain `words`, not as a part of longer words?
pub(crate) fn mentions(line: &str, words: &str) -> bool {
    let glued = |outer: Option<char>, inner: Option<char>| outer.is_some_and(in_word) && inner.is_some_and(in_word);
    line.match_indices(words).any(|(at, _)| {
        !glued(line[..at].chars().next_back(), words.chars().next())
            && !glued(line[at + words.len()..].chars().next(), words.chars().next_back())
    })
}

pub(crate) fn in_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if name != "target" && !name.starts_with('.') {
                collect(&path, paths);
            }
        } else if name.ends_with(".rs") || name.ends_with(".sql") || name == "Cargo.toml" {
            paths.push(path);
        }
    }
}

fn is_test_file(path: &str) -> bool {
    path.split('/').any(|part| ["tests", "tests.rs", "testing", "testing.rs"].contains(&part))
}

/// The index of the line `#[cfg(test)]` over `mod tests {`.
fn inline_tests(lines: &[Line]) -> Option<usize> {
    let opens_module = |line: &Line| mentions(&line.code, "mod") && line.code.trim_end().ends_with('{');
    (0..lines.len()).find(|&at| lines[at].code.contains("#[cfg(test)]") && lines[at..].iter().take(3).any(opens_module))
}

/// TOML and SQL: no comment is told apart, since no rule needs it.
fn plain(text: &str) -> Vec<Line> {
    let line = |(at, line): (usize, &str)| Line {
        number: at + 1,
        code: line.to_owned(),
        with_strings: line.to_owned(),
        comment: String::new(),
        is_test: false,
    };
    text.lines().enumerate().map(line).collect()
}

fn split(text: &str) -> Vec<Line> {
    let (mut code, mut with_strings, mut comment) = (String::new(), String::new(), String::new());
    for (c, kind) in classify(text) {
        let keep = |wanted: bool| if wanted || c == '\n' { c } else { ' ' };
        code.push(keep(kind == Kind::Code));
        with_strings.push(keep(kind != Kind::Comment));
        comment.push(keep(kind == Kind::Comment));
    }
    let views = code.lines().zip(with_strings.lines()).zip(comment.lines());
    views
        .enumerate()
        .map(|(at, ((code, with_strings), comment))| Line {
            number: at + 1,
            code: code.to_owned(),
            with_strings: with_strings.to_owned(),
            comment: comment.to_owned(),
            is_test: false,
        })
        .collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Code,
    Quoted,
    Comment,
}

fn classify(text: &str) -> Vec<(char, Kind)> {
    let mut kinds: Vec<(char, Kind)> = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let previous = kinds.last().map(|(c, _)| *c);
        let (length, kind) = token(rest, first, previous);
        kinds.extend(rest[..length].chars().map(|c| (c, kind)));
        rest = &rest[length..];
    }
    kinds
}

/// The length in bytes of what begins here, and what it is.
fn token(rest: &str, first: char, previous: Option<char>) -> (usize, Kind) {
    if rest.starts_with("//") {
        return (rest.find('\n').unwrap_or(rest.len()), Kind::Comment);
    }
    if rest.starts_with("/*") {
        return (block_comment(rest), Kind::Comment);
    }
    if first == '"' {
        return (quoted(rest, '"'), Kind::Quoted);
    }
    if first == '\'' && is_char_literal(rest) {
        return (quoted(rest, '\''), Kind::Quoted);
    }
    if first == 'r' && !previous.is_some_and(|c| in_word(c) && !"bc".contains(c)) {
        let hashes = rest[1..].chars().take_while(|c| *c == '#').count();
        if rest[1 + hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let begin = hashes + 2;
            return (rest[begin..].find(&end).map_or(rest.len(), |at| begin + at + end.len()), Kind::Quoted);
        }
    }
    (first.len_utf8(), Kind::Code)
}

fn block_comment(rest: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in rest.char_indices() {
        if rest[at..].starts_with("/*") {
            depth += 1;
        } else if c == '/' && at > 2 && rest[..at].ends_with('*') {
            depth -= 1;
            if depth == 0 {
                return at + 1;
            }
        }
    }
    rest.len()
}

fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    rest.len()
}

/// `'a'` and `'\n'`, but not the lifetime `'a`.
fn is_char_literal(rest: &str) -> bool {
    let mut chars = rest.chars().skip(1);
    matches!((chars.next(), chars.next()), (Some('\\'), _) | (Some(_), Some('\'')))
}

#[test]
fn code_strings_and_comments_are_told_apart() {
    let source =
        "let a = \"x // \\\" y\"; // why 'z\nlet b: &'a str = r#\"in \"raw\" \"#; /* o /* i */ o */ let c = '\"'; d";
    let lines = split(source);
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ");
    assert_eq!(words(&lines[0].code), "let a = ;");
    assert_eq!(words(&lines[0].with_strings), "let a = \"x // \\\" y\";");
    assert_eq!(words(&lines[0].comment), "// why 'z");
    assert_eq!(words(&lines[1].code), "let b: &'a str = ; let c = ; d");
    assert_eq!(words(&lines[1].comment), "/* o /* i */ o */");
    assert!(mentions("use tokio::time", "tokio") && !mentions("use tokio_util::time", "tokio"));
}
