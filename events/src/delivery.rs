//! Where an order goes and by which service.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The recipient's address and the carrier service. Personal data: never logged, never a label of a metric.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Delivery {
    #[schema(example = "A. Shopper")]
    pub recipient: String,
    #[schema(example = "1 High Street")]
    pub street: String,
    #[schema(example = "Leeds")]
    pub city: String,
    #[schema(example = "LS1 1AA")]
    pub postal_code: String,
    /// ISO 3166-1 alpha-2.
    #[schema(example = "GB")]
    pub country: String,
    /// What the carrier shall do, in the carrier's words: `standard`.
    #[schema(example = "standard")]
    pub service: String,
}
