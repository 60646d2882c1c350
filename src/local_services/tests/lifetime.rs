//! Who starts, who joins, when they go.

use std::path::Path;

use rustix::process::Signal;

use crate::launch::Answers;
use crate::lock::{Lock, Mode};
use crate::process::{self, Process};
use crate::testing::eventually;
use crate::tests::{POSTGRES_AND_REDIS, REDIS, acquire, another_process, checkout, hear, running};
use crate::{LocalServices, Needs, Options, PrivatePostgres, PrivateRabbitMq, Service, Silent, inspect, stop};

#[tokio::test]
async fn all_three_start_are_used_and_stop() {
    let checkout = checkout();
    let services = acquire(checkout.path(), Needs::ALL, 1).await;
    assert!(services.data().starts_with(checkout.path().canonicalize().expect("exists")));

    let inspection = inspect(checkout.path(), Needs::ALL).await.expect("an inspection");
    for finding in &inspection.findings {
        assert!(finding.pid.is_some() && finding.problem.is_none() && !finding.version.is_empty(), "{finding:?}");
    }
    assert!(!stop(checkout.path()).await.expect("an answer"), "stopped under its user");

    let data = services.data().to_owned();
    assert!(services.stop_if_last().await.expect("an answer"));
    for service in Service::ALL {
        assert_eq!(process::inside(&data.join(service.name())), []);
    }
    assert!(!checkout.path().join(".waybill/services.json").exists());

    // What lasts, lasts: the second start finds the data of the first.
    let again = acquire(checkout.path(), Needs::ALL, 1).await;
    again
        .rabbitmq
        .as_ref()
        .expect("asked for")
        .create_vhost("still_ours")
        .await
        .expect("the password of the first start");
    assert!(again.stop_if_last().await.expect("an answer"));
}

#[tokio::test]
async fn a_second_process_joins_and_the_servers_outlive_the_first() {
    let checkout = checkout();
    let first = acquire(checkout.path(), REDIS, 0).await;
    let redis = || running(checkout.path()).redis.map(|started| started.pid);
    let before = redis();

    // It starts Postgres, which the first did not want, beside the other.
    let mut second = another_process(checkout.path(), "postgres and redis");
    hear(&mut second, "acquired").await;
    drop(first);
    let third = acquire(checkout.path(), POSTGRES_AND_REDIS, 0).await;
    assert_eq!(redis(), before);

    second.kill().await.expect("it lived");
    assert!(third.postgres.as_ref().expect("asked for").answers().await);
    assert!(third.redis.as_ref().expect("asked for").answers().await);
}

#[test]
fn whoever_waits_for_servers_may_do_so_on_any_thread() {
    fn is_send(_: impl Send) {}
    is_send(LocalServices::acquire(Options::new("/"), &Silent));
    is_send(stop(Path::new("/")));
    is_send(inspect(Path::new("/"), Needs::ALL));
    is_send(PrivateRabbitMq::create());
    is_send(PrivatePostgres::create());
}

#[tokio::test]
async fn servers_are_gone_soon_after_their_last_user_was_killed() {
    let checkout = checkout();
    let mut user = another_process(checkout.path(), "all");
    hear(&mut user, "acquired").await;
    let data = running(checkout.path()).data;
    assert!(!everything(&data).is_empty());

    user.kill().await.expect("it lived");
    eventually("the servers are gone", async || everything(&data).is_empty()).await;
    eventually("services.json is gone", async || !checkout.path().join(".waybill/services.json").exists()).await;
}

#[tokio::test]
async fn a_starter_killed_in_the_middle_is_cleaned_up_after() {
    let checkout = checkout();
    let mut starter = another_process(checkout.path(), "all");
    hear(&mut starter, "Starting").await;
    let data = checkout.path().canonicalize().expect("exists").join(".waybill/data");
    eventually("something has started", async || !everything(&data).is_empty()).await;
    starter.kill().await.expect("it lived");

    // The next one comes at once, and finds half-made folders and running orphans.
    let next = acquire(checkout.path(), Needs::ALL, 0).await;
    assert!(next.postgres.as_ref().expect("asked for").answers().await);
    drop(next);
    eventually("the servers are gone", async || everything(&data).is_empty()).await;
}

#[tokio::test]
async fn a_killed_watchdog_is_replaced_by_the_next_user() {
    let checkout = checkout();
    let first = acquire(checkout.path(), REDIS, 0).await;
    let on_duty = checkout.path().join(".waybill/watchdog.lock");
    let is_on_duty = async || Lock::attempt(&on_duty, Mode::Exclusive).expect("our file").is_none();
    eventually("a watchdog is on duty", is_on_duty).await;
    kill_watchdog(checkout.path());
    eventually("none is on duty", async || !is_on_duty().await).await;

    let second = acquire(checkout.path(), REDIS, 0).await;
    eventually("a watchdog is on duty", is_on_duty).await;
    let data = first.data().to_owned();
    drop((first, second));
    eventually("the server is gone", async || everything(&data).is_empty()).await;
}

fn kill_watchdog(checkout: &Path) {
    let script = checkout.canonicalize().expect("exists").join(".waybill/watchdog.sh");
    for entry in std::fs::read_dir("/proc").expect("Linux").flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        if line.starts_with("sh\0") && line.contains(&*script.to_string_lossy()) {
            let pid = entry.file_name().to_string_lossy().parse().expect("a number");
            process::signal(&Process { pid, name: "sh".to_owned() }, Signal::KILL);
        }
    }
}

#[tokio::test]
async fn a_server_that_died_is_started_again_where_it_was() {
    let checkout = checkout();
    let first = acquire(checkout.path(), POSTGRES_AND_REDIS, 0).await;
    for service in [Service::Postgres, Service::Redis] {
        let leader = process::leader(&first.data().join(service.name())).expect("it runs");
        process::signal(&leader, Signal::KILL);
    }
    let second = acquire(checkout.path(), POSTGRES_AND_REDIS, 0).await;
    assert_eq!((&first.postgres, &first.redis), (&second.postgres, &second.redis));
    assert!(first.redis.as_ref().expect("asked for").answers().await);
}

#[tokio::test]
async fn a_number_in_services_json_that_is_another_process_by_now_is_not_touched() {
    let checkout = checkout();
    let first = acquire(checkout.path(), REDIS, 0).await;
    let (port, data) = (first.redis.as_ref().expect("asked for").port, first.data().to_owned());
    // As after a reboot: the file is there, its numbers belong to others.
    let file = checkout.path().join(".waybill/services.json");
    let stale = std::fs::read_to_string(&file).expect("it is there");
    drop(first);
    eventually("services.json is gone", async || !file.exists()).await;
    assert_eq!(everything(&data), []);
    let mut innocent =
        tokio::process::Command::new("sleep").arg("1000").kill_on_drop(true).spawn().expect("sleep runs");
    let innocent_pid = innocent.id().expect("it runs").to_string();
    let stale: String = stale
        .lines()
        .map(|line| if line.contains("\"pid\"") { format!("\"pid\": {innocent_pid},") } else { line.to_owned() })
        .collect();
    std::fs::write(&file, stale).expect("our file");

    let second = acquire(checkout.path(), REDIS, 0).await;
    assert_eq!(second.redis.as_ref().expect("asked for").port, port);
    assert!(second.redis.as_ref().expect("asked for").answers().await);
    assert!(innocent.try_wait().expect("ours").is_none(), "another process was ended");
}

fn everything(data: &Path) -> Vec<Process> {
    Service::ALL.iter().flat_map(|service| process::inside(&data.join(service.name()))).collect()
}
