//! Shoppers who place orders in the background while a test breaks something, and ask again until they know.

use std::thread::JoinHandle;

use futures_util::{StreamExt, stream};

use super::{
    client::{Client, Wish},
    shop::{Placed, Shop},
};

const SHOPPERS: usize = 8;

/// Orders that are being placed, on a thread of their own.
pub(crate) struct Flow(JoinHandle<Vec<Placed>>);

impl Flow {
    /// Places so many orders under keys that begin with `name`; `wish` says what each of them wants.
    pub(crate) fn start(client: &Client, name: &str, orders: usize, wish: fn(usize) -> Wish) -> Self {
        let (client, name) = (client.clone(), name.to_owned());
        Self(std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let one = async |number| Shop::place_stubbornly(&client, &format!("{name}-{number}"), &wish(number)).await;
            let placing = stream::iter(0..orders).map(one).buffer_unordered(SHOPPERS).collect();
            runtime.expect("a runtime can be made").block_on(placing)
        }))
    }

    /// All of them, once all are accepted.
    pub(crate) async fn placed(self) -> Vec<Placed> {
        let joined = tokio::task::spawn_blocking(|| self.0.join()).await.expect("waiting does not panic");
        joined.expect("every order is accepted in the end")
    }
}
