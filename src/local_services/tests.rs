//! Against real servers, in checkouts of their own. A second process is this test binary, run again for one helper.

mod lifetime;
mod places;
mod private;
mod testing;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::host::Running;
use crate::{LocalServices, Needs, Options, Silent};

const REDIS: Needs = Needs { postgres: false, redis: true, rabbitmq: false };
const POSTGRES_AND_REDIS: Needs = Needs::POSTGRES_AND_REDIS;
const HELPER: &str = "WAYBILL_TEST_CHECKOUT_TO_USE";
const HELPER_NEEDS: &str = "WAYBILL_TEST_SERVICES_TO_USE";

/// A checkout that everybody may enter.
fn checkout() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("our folder");
    folder
}

fn options(checkout: &Path, needs: Needs, grace_seconds: u64) -> Options {
    Options { needs, grace: Duration::from_secs(grace_seconds), ..Options::new(checkout) }
}

async fn acquire(checkout: &Path, needs: Needs, grace_seconds: u64) -> LocalServices {
    LocalServices::acquire(options(checkout, needs, grace_seconds), &Silent).await.expect("local services")
}

/// `services.json`, read anew.
fn running(checkout: &Path) -> Running {
    Running::read(&checkout.join(".waybill"))
}

/// A process that acquires services of the checkout with a second of grace, says so, and holds them until it is killed.
fn another_process(checkout: &Path, needs: &str) -> Child {
    Command::new(std::env::current_exe().expect("this test binary"))
        .args(["--exact", "tests::another_process_that_uses_them", "--nocapture"])
        .env(HELPER, checkout)
        .env(HELPER_NEEDS, needs)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("this test binary runs")
}

async fn hear(child: &mut Child, word: &str) {
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let heard = async {
        while let Some(line) = lines.next_line().await.expect("readable") {
            if line.contains(word) {
                return;
            }
        }
        panic!("it ended without saying {word}");
    };
    tokio::time::timeout(Duration::from_secs(100), heard).await.expect("it says so in time");
}

#[tokio::test]
async fn another_process_that_uses_them() {
    let Some(checkout) = std::env::var_os(HELPER) else { return };
    let say = |sentence: &str| println!("said: {sentence}");
    let needs = if std::env::var(HELPER_NEEDS).as_deref() == Ok("all") { Needs::ALL } else { POSTGRES_AND_REDIS };
    let _services =
        LocalServices::acquire(options(Path::new(&checkout), needs, 1), &say).await.expect("local services");
    println!("acquired");
    std::future::pending::<()>().await;
}
