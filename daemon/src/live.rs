//! The settings in effect. SIGHUP replaces them; a stream keeps those that it began with.

use std::sync::{Arc, PoisonError, RwLock};

use crate::config::Config;

/// Settings that can be replaced as a whole.
#[derive(Debug)]
pub struct Live(RwLock<Arc<Config>>);

impl Live {
    /// These, until they are replaced.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self(RwLock::new(Arc::new(config)))
    }

    /// The settings of this moment.
    #[must_use]
    pub fn get(&self) -> Arc<Config> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on these.
    pub fn replace(&self, config: Config) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }
}
