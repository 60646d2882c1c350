//! A new migration is part of the crate at once: without this, cargo sees only changes of those it has embedded before.

fn main() {
    println!("cargo:rerun-if-changed=../migrations");
}
