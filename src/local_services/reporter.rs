//! What a person should hear while servers are found, installed and started.

/// Takes whole sentences, one at a time, in the order in which things happen.
pub trait Reporter: Send + Sync {
    fn say(&self, sentence: &str);
}

impl<F: Fn(&str) + Send + Sync> Reporter for F {
    fn say(&self, sentence: &str) {
        self(sentence);
    }
}

/// For callers that have nobody to tell.
#[derive(Debug, Clone, Copy)]
pub struct Silent;

impl Reporter for Silent {
    fn say(&self, _sentence: &str) {}
}
