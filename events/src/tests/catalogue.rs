//! Every event of the catalogue has a sample whose JSON is pinned by a snapshot.
