//! Servers for one test alone.

use sqlx::{Connection, Executor};

use crate::launch::Answers;
use crate::{PrivatePostgres, PrivateRabbitMq, PrivateRedis};

#[tokio::test]
async fn a_killed_postgres_comes_back_where_it_was_with_what_was_committed() {
    let postgres = PrivatePostgres::create().await.expect("a server");
    let mut connection = postgres.at().connect("postgres").await.expect("a connection");
    connection.execute("CREATE TABLE kept AS SELECT 42 AS answer").await.expect("a table");
    postgres.kill().await.expect("it dies");
    assert!(!postgres.is_running() && connection.ping().await.is_err());

    postgres.start().await.expect("it comes back");
    let mut connection = postgres.at().connect("postgres").await.expect("a connection");
    let answer: i32 =
        sqlx::query_scalar("SELECT answer FROM kept").fetch_one(&mut connection).await.expect("the table");
    assert_eq!(answer, 42);
    let fsync: String = sqlx::query_scalar("SHOW fsync").fetch_one(&mut connection).await.expect("a setting");
    assert_eq!(fsync, "on");

    postgres.wipe().await.expect("it dies");
    postgres.start().await.expect("it comes back");
    let mut connection = postgres.at().connect("postgres").await.expect("a connection");
    assert!(connection.execute("SELECT answer FROM kept").await.is_err());
}

#[tokio::test]
async fn a_paused_redis_is_silent_and_a_killed_one_comes_back_empty() {
    let redis = PrivateRedis::create().await.expect("a server");
    redis.at().ask(&[&["SET", "a", "1"]]).await.expect("an answer");
    redis.pause();
    let asked = tokio::time::timeout(std::time::Duration::from_millis(200), redis.at().answers()).await;
    assert!(asked.is_err(), "a paused server answered");
    redis.resume();
    assert!(redis.at().answers().await);

    redis.kill().await.expect("it dies");
    assert!(!redis.at().answers().await);
    redis.start().await.expect("it comes back");
    assert_eq!(redis.at().ask(&[&["EXISTS", "a"]]).await.expect("an answer"), ["0"]);
}

#[tokio::test]
async fn a_rabbitmq_keeps_its_data_through_a_kill_and_loses_them_by_a_wipe() {
    let rabbitmq = PrivateRabbitMq::create().await.expect("a server");
    rabbitmq.at().create_vhost("kept").await.expect("a virtual host");
    rabbitmq.kill().await.expect("it dies");
    assert!(!rabbitmq.at().answers().await);
    rabbitmq.start().await.expect("it comes back");
    assert!(rabbitmq.at().vhosts().await.expect("a list").contains(&"kept".to_owned()));
    let listed = rabbitmq.control(&["list_vhosts", "--silent"]).await.expect("a list");
    assert!(listed.contains("kept"), "{listed}");

    rabbitmq.wipe().await.expect("it dies");
    rabbitmq.start().await.expect("it comes back");
    assert_eq!(rabbitmq.at().vhosts().await.expect("a list"), ["/"]);
}
