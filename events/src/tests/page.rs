//! `docs/events.md` lists every event with an example, as the code writes it.

use std::{fmt::Write, fs, path::Path};

use super::samples::every_event;
use crate::DomainEvent;

const HEAD: &str = "# Event catalogue\n\n\
    Every event of the log, with its current schema version and an example payload. Generated from the code by a test; readers of the\n\
    log (`GET /v1/audit/events`, `waybill audit replay`) and of the exchange `waybill.facts` see these payloads. An older version in the\n\
    log keeps its shape for ever.\n";

fn page() -> String {
    let mut page = HEAD.to_owned();
    let mut last = "";
    for ((category, event_type, version), event) in DomainEvent::catalogue().into_iter().zip(every_event()) {
        if category != last {
            write!(page, "\n## `{category}-...`\n").expect("a string takes everything");
            last = category;
        }
        let json = event.to_json();
        write!(page, "\n**{event_type}** v{version}\n```json\n{json}\n```\n").expect("a string takes everything");
    }
    page
}

#[test]
fn the_catalogue_page_is_what_the_code_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace");
    let written = fs::read_to_string(root.join("docs/events.md")).unwrap_or_default();
    let wanted = page();
    if written != wanted {
        let fresh = root.join("target/events.md");
        fs::write(&fresh, wanted).expect("the target folder is there");
        panic!("docs/events.md is not what the code says: copy {} over it", fresh.display());
    }
}
