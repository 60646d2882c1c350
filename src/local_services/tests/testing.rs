//! The fixtures that other crates' tests stand on.

use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{Connection, Executor, PgConnection};

use crate::testing::TestServices;

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
    let schema = format!("local_services_{}", std::process::id());
    let counted = async |url| {
        MIGRATED.fetch_add(1, Ordering::Relaxed);
        migrate(url).await
    };
    let (one, other) =
        tokio::join!(services.fresh_database(&schema, counted), services.fresh_database(&schema, counted));
    assert_eq!(MIGRATED.load(Ordering::Relaxed), 1);

    let mut connection = PgConnection::connect(&one.superuser_url()).await.expect("a connection");
    connection.execute("INSERT INTO things VALUES ('mine')").await.expect("the table");
    let mut connection = PgConnection::connect(&other.superuser_url()).await.expect("a connection");
    let count: i64 =
        sqlx::query_scalar("SELECT count(*) FROM things").fetch_one(&mut connection).await.expect("the table");
    assert_eq!(count, 0);

    let name = one.name.clone();
    drop(one);
    crate::tests::eventually("the database is dropped", async || {
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
