//! Moves a database to another server as an operator would.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use crate::postgres::Postgres;

/// Longer than a test's database takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What `pg_dump` makes of the database `from`, read by `psql` into the database `to`, which is there and empty.
pub async fn dump_and_restore(from: (&Postgres, &str), to: (&Postgres, &str)) {
    let mut dump = client("pg_dump", from).stdout(Stdio::piped()).spawn().expect("pg_dump comes with the server");
    let sql: Stdio = dump.stdout.take().expect("it is piped").try_into().expect("a pipe can be handed on");
    let mut restore = client("psql", to);
    let restoring = restore.args(["-q", "-v", "ON_ERROR_STOP=1"]).stdin(sql).stdout(Stdio::null()).status();
    let both = async { (restoring.await.expect("psql runs"), dump.wait().await.expect("pg_dump ends")) };
    let (restored, dumped) = timeout(PATIENCE, both).await.expect("a database is moved in time");
    assert!(restored.success() && dumped.success(), "psql: {restored}, pg_dump: {dumped}");
}

/// As the superuser.
fn client(program: &str, (server, database): (&Postgres, &str)) -> Command {
    let mut command = Command::new(program);
    command.arg("-h").arg(&server.socket_dir).args([
        "-p",
        &server.port.to_string(),
        "-U",
        &server.superuser,
        "-d",
        database,
    ]);
    command.kill_on_drop(true);
    command
}
