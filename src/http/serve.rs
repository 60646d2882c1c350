//! Serves a router until shutdown, then lets the requests under way finish within a bound.
//!
//! Bounds what stands before the router: how many clients are connected, and how long one may take to ask for something.

use std::{
    future::pending,
    io,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    serve::{Listener, ListenerExt},
};
use hyper::service::{Service, service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// At once. Whoever comes next waits in the listener's backlog until one is closed.
    pub(crate) connections: usize,
    /// For the first request of a connection, and over HTTP/1 for the headers of each; a connection that is idle for as long is closed.
    pub(crate) asking: Duration,
}

impl Default for Bounds {
    /// Twice as many connections as requests ([`crate::Limits`]), so that a probe comes through while requests are turned away. Each
    /// takes a file descriptor.
    fn default() -> Self {
        Self { connections: 2_048, asking: Duration::from_secs(10) }
    }
}

/// Returns when everything is answered, or `drain` after `shutdown`, whichever is first.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: CancellationToken,
    drain: Duration,
) -> io::Result<()> {
    serve_within(Bounds::default(), listener, router, shutdown, drain).await
}

pub(crate) async fn serve_within(
    bounds: Bounds,
    listener: TcpListener,
    router: Router,
    shutdown: CancellationToken,
    drain: Duration,
) -> io::Result<()> {
    let mut listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection keeps Nagle's algorithm");
        }
    });
    let (permits, connections) = (Arc::new(Semaphore::new(bounds.connections)), TaskTracker::new());
    let accept = async {
        loop {
            let permit = Arc::clone(&permits).acquire_owned().await.expect("the semaphore is never closed");
            // Waits a while by itself where the process has no file descriptor left.
            let (stream, _) = listener.accept().await;
            let answered = answer(stream, router.clone(), bounds.asking, shutdown.clone());
            connections.spawn(async move {
                answered.await;
                drop(permit);
            });
        }
    };
    shutdown.run_until_cancelled(accept).await;
    drop(listener);
    connections.close();
    if timeout(drain, connections.wait()).await.is_err() {
        tracing::warn!(drain_ms = drain.as_millis(), "requests were still under way and are abandoned");
    }
    Ok(())
}

/// Serves one connection: HTTP/1, or HTTP/2 for who begins with it.
async fn answer(stream: TcpStream, router: Router, asking: Duration, shutdown: CancellationToken) {
    let asked = AtomicBool::new(false);
    let router = TowerToHyperService::new(router);
    let service = service_fn(|request| {
        asked.store(true, Ordering::Relaxed);
        router.call(request)
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(asking);
    // Notices peers that are gone without a word.
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(asking);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    // The library's time for headers begins only when the first bytes have shown which HTTP it is.
    let silent = async {
        sleep(asking).await;
        if asked.load(Ordering::Relaxed) {
            pending().await
        }
    };
    let ended = tokio::select! {
        biased; // A request that has come counts, though its time is up.
        ended = connection.as_mut() => ended,
        () = silent => return,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error, "a connection ended early");
    }
}
