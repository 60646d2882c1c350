//! The shared parts as a client meets them: a real server, real requests, pinned problem documents.
