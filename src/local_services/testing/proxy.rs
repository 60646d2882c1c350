//! Stands between a client and Postgres, counts the round trips, and loses an answer or the whole server when told to.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream},
    sync::watch,
    task::JoinSet,
};

use crate::postgres::Postgres;

/// A port that leads to a Postgres. Dropping it closes the port and every connection.
#[derive(Debug)]
pub struct PostgresProxy {
    port: u16,
    traffic: Arc<Traffic>,
    away: watch::Sender<bool>,
    leads_to: Arc<Mutex<PathBuf>>,
    _accepting: JoinSet<()>,
}

/// By this message of Postgres's protocol alone a pool sees whether a connection is still there.
const SYNC: &[u8] = b"S\0\0\0\x04";

#[derive(Debug, Default)]
struct Traffic {
    /// Answers still to be lost.
    wanted: AtomicUsize,
    lost: AtomicUsize,
    round_trips: AtomicUsize,
}

impl PostgresProxy {
    pub async fn before(postgres: &Postgres) -> io::Result<Self> {
        let leads_to = Arc::new(Mutex::new(socket_of(postgres)));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let traffic = Arc::new(Traffic::default());
        let (away, watched) = watch::channel(false);
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, leads_to.clone(), traffic.clone(), watched));
        Ok(Self { port, traffic, away, leads_to, _accepting: accepting })
    }

    /// For sqlx: without TLS, which could not be cut at the right place.
    pub fn url(&self, database: &str, user: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{}/{database}?sslmode=disable", self.port)
    }

    /// From now on, each of the next `count` connections that the server answers on loses that answer, and breaks. What was asked for
    /// has been done: a server answers a statement of its own transaction after its COMMIT.
    pub fn lose_answers(&self, count: usize) {
        self.traffic.wanted.store(count, Ordering::SeqCst);
    }

    /// Every connection breaks, and none is made, until [`Self::come_back`].
    pub fn go_away(&self) {
        self.away.send_replace(true);
    }

    pub fn come_back(&self) {
        self.away.send_replace(false);
    }

    /// New connections lead to another server.
    pub fn lead_to(&self, postgres: &Postgres) {
        *self.leads_to.lock().unwrap_or_else(PoisonError::into_inner) = socket_of(postgres);
    }

    /// How often a client has asked, or went on after an answer. That a pool sees whether a connection that comes back is still there is
    /// not counted: nobody waits for it.
    pub fn round_trips(&self) -> usize {
        self.traffic.round_trips.load(Ordering::SeqCst)
    }

    /// How many answers were lost.
    pub fn lost(&self) -> usize {
        self.traffic.lost.load(Ordering::SeqCst)
    }
}

fn socket_of(postgres: &Postgres) -> PathBuf {
    postgres.socket_dir.join(format!(".s.PGSQL.{}", postgres.port))
}

async fn accept(
    listener: TcpListener,
    leads_to: Arc<Mutex<PathBuf>>,
    traffic: Arc<Traffic>,
    away: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        if *away.borrow() {
            continue;
        }
        let socket = leads_to.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Ok(server) = UnixStream::connect(&socket).await else { continue };
        connections.spawn(relay(client, server, traffic.clone(), away.clone()));
    }
}

/// Until one side ends, an answer is lost, or the server goes away; then both are closed.
async fn relay(client: TcpStream, server: UnixStream, traffic: Arc<Traffic>, mut away: watch::Receiver<bool>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let answered = AtomicBool::new(true);
    let questions = async {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let count = from_client.read(&mut buffer).await?;
            if count == 0 {
                return io::Result::Ok(());
            }
            if buffer[..count] != *SYNC && answered.swap(false, Ordering::SeqCst) {
                traffic.round_trips.fetch_add(1, Ordering::SeqCst);
            }
            to_server.write_all(&buffer[..count]).await?;
        }
    };
    let answers = async {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let count = from_server.read(&mut buffer).await?;
            answered.store(true, Ordering::SeqCst);
            if count == 0 || traffic.take() {
                return io::Result::Ok(());
            }
            to_client.write_all(&buffer[..count]).await?;
        }
    };
    tokio::select! {
        _ = questions => (),
        _ = answers => (),
        _ = away.wait_for(|away| *away) => (),
    }
}

impl Traffic {
    fn take(&self) -> bool {
        let less = |wanted: usize| wanted.checked_sub(1);
        let taken = self.wanted.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok();
        self.lost.fetch_add(usize::from(taken), Ordering::SeqCst);
        taken
    }
}
