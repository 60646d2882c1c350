# `just` lists the recipes; `just verify` is exactly what CI runs (.ci/run adds the tools a bare machine lacks).

set shell := ["bash", "-euo", "pipefail", "-c"]

export PATH := justfile_directory() / "target/tools/bin" + ":" + env("PATH")
export INSTA_UPDATE := env("INSTA_UPDATE", "no") # `INSTA_UPDATE=always just test` accepts new snapshots

[private]
list:
    @just --list --unsorted

# Everything CI checks, the cheap things first
verify: fmt typos dead-dependencies one-tls deny squawk clippy test doc

# The pinned tools of .ci/tools.txt, into target/tools
[private]
tools:
    @.ci/tools

# Layout, as rustfmt decides (`cargo fmt` repairs)
fmt:
    cargo fmt --all --check

# Spelling in code and prose
typos: tools
    typos

# Dependencies that nothing uses
dead-dependencies: tools
    cargo shear --locked

# One TLS and crypto library: a second one makes rustls panic at the first connection
one-tls:
    tree=$(cargo tree --locked --workspace --edges normal,build --prefix none) && ! grep -E '^(ring|openssl-sys|native-tls) ' <<< "$tree"

# Bans, licences and sources; advisories where their database can be reached
deny: tools
    cargo deny --locked check bans licenses sources
    @if timeout 60 cargo deny --locked fetch db >/dev/null 2>&1; then cargo deny --locked check --disable-fetch advisories; \
        else echo "SKIPPED: cargo deny check advisories (github.com/RustSec/advisory-db cannot be reached)"; fi

# Migrations that would lock, rewrite or break the previous release
squawk: tools
    squawk migrations/*.sql

# Lints, warnings are errors
clippy:
    cargo clippy --locked --workspace --all-targets -- -D warnings

# What `cargo test` runs, and no snapshot is left that no test reads
test:
    rm -f target/snapshots-read.txt
    INSTA_SNAPSHOT_REFERENCES_FILE="$PWD/target/snapshots-read.txt" cargo test --locked --workspace --no-fail-fast
    @touch target/snapshots-read.txt
    @unread=$(comm -23 <(git ls-files --cached --others --exclude-standard '*.snap' | sort) <(xargs -r realpath -m --relative-to=. < target/snapshots-read.txt | sort -u)) \
        && test -z "$unread" || { echo "snapshots that no test reads, delete them:"; echo "$unread"; exit 1; }

# The fault tests of the log again and again, each for so many minutes; then how fast it is under an old snapshot (some GB in /tmp)
soak minutes="10":
    WAYBILL_SOAK_MINUTES={{ minutes }} cargo test --locked --workspace --lib -- --test-threads 1 \
        whatever_happens_each_caller a_server_that_is_killed_under_load a_promoted_synchronous_standby
    cargo run --locked --release -- bench old-snapshot --rounds 1

# One process a test, with a time limit each: for hunting a flaky or hanging one
nextest *arguments: tools
    cargo nextest run --locked --workspace {{ arguments }}

# The documentation builds without a broken link
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps
