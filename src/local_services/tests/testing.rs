//! The fixtures that other crates' tests stand on.

use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{Connection, Executor, PgConnection};

use crate::http::vhosts_in;
use crate::testing::janitor::Janitor;
use crate::testing::template;
use crate::testing::{TestServices, eventually};

const SCHEMA: &str = "of_local_services";

/// As `migrate` of an application: connects, makes its tables, and disconnects.
async fn migrate(url: String) -> Result<(), sqlx::Error> {
    let mut connection = PgConnection::connect(&url).await?;
    connection.execute("CREATE TABLE things (name text)").await?;
    connection.close().await
}

#[tokio::test]
async fn each_test_has_a_migrated_database_of_its_own() {
    static MIGRATED: AtomicU32 = AtomicU32::new(0);
    let services = TestServices::shared().await;
    let counted = async |url| {
        MIGRATED.fetch_add(1, Ordering::Relaxed);
        migrate(url).await
    };
    let (one, other) = tokio::join!(services.fresh_database(SCHEMA, counted), services.fresh_database(SCHEMA, counted));
    // Not at all if an earlier run has left its template.
    assert!(MIGRATED.load(Ordering::Relaxed) <= 1);

    let mut connection = PgConnection::connect(&one.superuser_url()).await.expect("a connection");
    connection.execute("INSERT INTO things VALUES ('mine')").await.expect("the table");
    let mut connection = PgConnection::connect(&other.superuser_url()).await.expect("a connection");
    let count: i64 =
        sqlx::query_scalar("SELECT count(*) FROM things").fetch_one(&mut connection).await.expect("the table");
    assert_eq!(count, 0);

    let name = one.name.clone();
    drop(one);
    eventually("the database is dropped", async || {
        let mut connection = services.postgres.connect("postgres").await.expect("a connection");
        let found: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_database WHERE datname = $1")
            .bind(&name)
            .fetch_one(&mut connection)
            .await
            .expect("a count");
        found == 0
    })
    .await;
}

#[tokio::test]
async fn each_test_has_a_virtual_host_and_a_redis_database_of_its_own() {
    let services = TestServices::shared().await;
    let (one, other) = (services.fresh_vhost().await, services.fresh_vhost().await);
    let vhosts = services.rabbitmq.vhosts().await.expect("a list");
    assert!(one.name != other.name && vhosts.contains(&one.name) && vhosts.contains(&other.name));

    let (one, other) = (services.fresh_redis().await, services.fresh_redis().await);
    assert!(one.number != other.number && one.url().ends_with(&format!("/{}", one.number)));
}

/// RabbitMQ 3.10 answers so: seen while one test listed what another was making.
#[test]
fn a_virtual_host_that_is_just_being_made_does_not_spoil_the_list() {
    let names = vhosts_in(r#"[[],{"name":"/"},{"name":"t_1_2_3"}]"#).expect("a list");
    assert_eq!(names, ["/", "t_1_2_3"]);
    assert!(vhosts_in(r#"[["/"]]"#).is_err() && vhosts_in(r#"{"error":"not_authorised"}"#).is_err());
}

#[tokio::test]
async fn what_a_dead_process_has_left_is_taken_away() {
    let services = TestServices::shared().await;
    // A process of the first tick after boot: nobody's any more.
    let name = format!("t_{}_1_0", std::process::id());
    let mut connection = services.postgres.connect("postgres").await.expect("a connection");
    connection.execute(format!("CREATE DATABASE {name}").as_str()).await.expect("a database");
    services.rabbitmq.create_vhost(&name).await.expect("a virtual host");
    let ours = services.fresh_vhost().await;

    let _janitor = Janitor::start(services.postgres.clone(), services.rabbitmq.clone());
    eventually("both are gone", async || {
        let vhosts = services.rabbitmq.vhosts().await.expect("a list");
        assert!(vhosts.contains(&ours.name), "a living process lost its own");
        let databases = template::databases(&services.postgres).await.expect("a list");
        !vhosts.contains(&name) && !databases.contains(&name)
    })
    .await;
}
