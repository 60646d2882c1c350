//! The committed description of the API is what the code says.

use std::process::Command;

#[test]
fn the_committed_openapi_document_is_current() {
    let checked = Command::new(env!("CARGO_BIN_EXE_waybill"))
        .args(["openapi", "--check", "openapi.json"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("the binary starts");
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "write it again: cargo run -- openapi > openapi.json\n{said}");
}
