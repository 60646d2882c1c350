//! What a process does: all of it on a laptop, one role a process in production.

/// One job of the platform. Each scales by the number of processes that run it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, clap::ValueEnum)]
pub(crate) enum Role {
    /// The command endpoints and the webhooks.
    Commands,
    /// The query endpoints.
    Queries,
    /// Publishes to RabbitMQ, from the log. One process works, others stand by.
    Relay,
    /// Decides the next step of every order. One process works, others stand by.
    Sagas,
    /// Carries out payment commands.
    Payment,
    /// Carries out inventory commands.
    Inventory,
    /// Carries out shipping commands.
    Shipping,
    /// Builds the read models. One process works on each.
    Projector,
    /// Keeps the log's partitions ahead.
    Maintainer,
}

impl Role {
    pub(crate) const ALL: [Self; 9] = [
        Self::Commands,
        Self::Queries,
        Self::Relay,
        Self::Sagas,
        Self::Payment,
        Self::Inventory,
        Self::Shipping,
        Self::Projector,
        Self::Maintainer,
    ];
}
