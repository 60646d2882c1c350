//! Opens a shop: its products are listed and its shelves filled, through the front door. Keys are fixed, so repeating is harmless.

use anyhow::Context as _;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::{FrontDoor, Outcome, Shop};

/// Requests under way at a time.
const CONCURRENCY: usize = 16;

/// Lists every product and receives `pieces_each` of it. `done` hears of each product listed.
///
/// A SKU that another shop has listed already keeps its particulars: that is no error.
pub(crate) async fn open(
    door: &FrontDoor,
    shop: &Shop,
    location: &str,
    pieces_each: u32,
    done: impl Fn(),
) -> anyhow::Result<()> {
    let done = &done;
    let list = |product| async move {
        match door.post("/v1/products", &shop.product_key(product), product).await? {
            Outcome::Accepted(_) => (),
            Outcome::Refused(problem) => {
                anyhow::ensure!(problem.code == "already-exists", "{}: {problem}", product.sku)
            }
        }
        done();
        Ok(())
    };
    let listing = stream::iter(shop.products()).map(list).buffer_unordered(CONCURRENCY);
    listing.try_collect::<()>().await.context("a product was not listed")?;
    for (key, receipt) in shop.receipts(pieces_each) {
        match door.post(&format!("/v1/inventory/{location}/receipts"), &key, &receipt).await? {
            Outcome::Accepted(_) => (),
            Outcome::Refused(problem) => anyhow::bail!("stock was not received: {problem}"),
        }
    }
    Ok(())
}
