//! Where things lie when the checkout is not a plain one.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::sync::Mutex;

use crate::launch::Answers;
use crate::tests::{POSTGRES_AND_REDIS, acquire, checkout, options};
use crate::{Error, LocalServices, Needs, folders};

#[tokio::test]
async fn data_go_elsewhere_where_the_servers_user_cannot_enter_and_it_is_said() {
    if !crate::account::is_root() {
        // An ordinary user's servers run as that user, who can enter.
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "in CI nothing is skipped: run the tests as root");
        eprintln!("SKIPPED: only root's servers run as somebody else");
        return;
    }
    let checkout = checkout();
    std::fs::set_permissions(checkout.path(), Permissions::from_mode(0o700)).expect("our folder");
    let said = Mutex::new(String::new());
    let listen = |sentence: &str| said.lock().expect("no panic").push_str(sentence);
    let services =
        LocalServices::acquire(options(checkout.path(), POSTGRES_AND_REDIS, 0), &listen).await.expect("local services");

    assert!(services.data().starts_with("/var/tmp"), "{}", services.data().display());
    assert!(said.lock().expect("no panic").contains(&services.data().display().to_string()));
    assert!(checkout.path().join(".waybill/services.json").exists());
    let elsewhere = services.data().parent().expect("it has one").to_owned();
    assert!(services.stop_if_last().await.expect("an answer"));
    std::fs::remove_dir_all(elsewhere).expect("ours");
}

#[tokio::test]
async fn a_path_with_spaces_and_quotes_does_no_harm() {
    let outer = checkout();
    let odd = outer.path().join("my shop's (\"new\") code");
    std::fs::create_dir(&odd).expect("a folder");
    let services = acquire(&odd, POSTGRES_AND_REDIS, 0).await;
    let elsewhere = services.data().parent().expect("it has one").to_owned();
    assert!(services.postgres.as_ref().expect("asked for").answers().await);
    assert!(services.stop_if_last().await.expect("an answer"));
    std::fs::remove_dir_all(elsewhere).expect("ours");
}

#[tokio::test]
async fn a_database_folder_that_was_never_finished_is_made_anew() {
    let checkout = checkout();
    let unfinished = checkout.path().join(".waybill/data/postgres.unfinished");
    std::fs::create_dir_all(&unfinished).expect("a folder");
    std::fs::write(unfinished.join("PG_VERSION"), "15").expect("a file");
    let services = acquire(checkout.path(), Needs::POSTGRES, 0).await;
    assert!(services.postgres.as_ref().expect("asked for").answers().await);
    assert!(!unfinished.exists());
}

#[test]
fn a_folder_that_is_a_link_to_another_place_is_refused() {
    let checkout = checkout();
    let link = checkout.path().join("link");
    std::os::unix::fs::symlink("/etc", &link).expect("a link");
    assert!(matches!(folders::private(&link), Err(Error::Foreign { .. })));
}
