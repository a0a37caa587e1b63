//! How many streams one user may have at the same time, and one client address.
//!
//! Touched when a stream begins and when it ends, never in between.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::config;
use crate::outcome::Limit;

/// The streams that are being counted.
#[derive(Debug, Default)]
pub struct Limits {
    users: Counts<Box<str>>,
    clients: Counts<IpAddr>,
}

impl Limits {
    /// Counts one more stream, until what is returned is dropped. `user` and `client` are not limited when unknown.
    ///
    /// # Errors
    /// The limit that is reached. Nothing is counted then.
    pub fn admit(
        &self,
        config: &config::Server,
        user: Option<&str>,
        client: Option<IpAddr>,
    ) -> Result<Admission<'_>, Limit> {
        // What it has taken is given back when the second limit refuses.
        let mut admission = Admission { limits: self, user: None, client: None };
        if let (Some(user), Some(limit)) = (user, config.max_streams_per_user) {
            let key = self.users.add(user.into(), limit).ok_or(Limit::User)?;
            admission.user = Some(key);
        }
        if let (Some(client), Some(limit)) = (client, config.max_streams_per_client) {
            let key = self.clients.add(site(client), limit).ok_or(Limit::Client)?;
            admission.client = Some(key);
        }
        Ok(admission)
    }
}

/// A stream that counts. Dropping it gives its places back.
#[derive(Debug)]
pub struct Admission<'a> {
    limits: &'a Limits,
    user: Option<Box<str>>,
    client: Option<IpAddr>,
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        if let Some(user) = &self.user {
            self.limits.users.remove(user);
        }
        if let Some(client) = &self.client {
            self.limits.clients.remove(client);
        }
    }
}

/// What one client has: an IPv4 address, or the /64 of an IPv6 address, all of which belongs to one network.
fn site(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        v4 => v4,
    }
}

/// How many streams each key has; keys without any are not kept.
#[derive(Debug)]
struct Counts<K>(Mutex<HashMap<K, usize>>);

impl<K> Default for Counts<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Clone + Eq + Hash> Counts<K> {
    /// Counts one more for `key`, unless it has `limit` already. Returns what [`Counts::remove`] has to be given.
    fn add(&self, key: K, limit: usize) -> Option<K> {
        let mut counts = self.lock();
        let count = counts.get(&key).copied().unwrap_or_default();
        if count >= limit {
            return None;
        }
        counts.insert(key.clone(), count + 1);
        Some(key)
    }

    fn remove<Q: Eq + Hash + ?Sized>(&self, key: &Q)
    where
        K: std::borrow::Borrow<Q>,
    {
        let mut counts = self.lock();
        if let Some(count) = counts.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(key);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(user: Option<usize>, client: Option<usize>) -> config::Server {
        config::Server { max_streams_per_user: user, max_streams_per_client: client, ..Default::default() }
    }

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    #[test]
    fn each_limit_counts_its_own() {
        let limits = Limits::default();
        let config = config(Some(1), Some(2));
        let a = limits.admit(&config, Some("a"), Some(ADDRESS)).unwrap();
        assert_eq!(limits.admit(&config, Some("a"), None).unwrap_err(), Limit::User);
        let _b = limits.admit(&config, Some("b"), Some(ADDRESS)).unwrap();
        assert_eq!(limits.admit(&config, Some("c"), Some(ADDRESS)).unwrap_err(), Limit::Client);
        let _nobody = limits.admit(&config, None, None).unwrap();
        let _nobody_else = limits.admit(&config, None, None).unwrap();
        drop(a);
        let _c = limits.admit(&config, Some("a"), Some(ADDRESS)).unwrap();
    }

    #[test]
    fn what_is_refused_leaves_nothing_behind() {
        let limits = Limits::default();
        let config = config(Some(1), Some(1));
        let first = limits.admit(&config, Some("a"), Some(ADDRESS)).unwrap();
        for _ in 0..100 {
            assert_eq!(limits.admit(&config, Some("b"), Some(ADDRESS)).unwrap_err(), Limit::Client);
        }
        drop(first);
        assert!(limits.users.lock().is_empty() && limits.clients.lock().is_empty());
    }

    #[test]
    fn a_limit_of_zero_streams_keeps_no_key() {
        let limits = Limits::default();
        assert_eq!(limits.admit(&config(Some(0), None), Some("a"), None).unwrap_err(), Limit::User);
        assert!(limits.users.lock().is_empty());
    }

    #[test]
    fn an_ipv6_network_is_one_client() {
        let one: IpAddr = "2001:db8:1:2::1".parse().unwrap();
        let same: IpAddr = "2001:db8:1:2:ffff::9".parse().unwrap();
        let other: IpAddr = "2001:db8:1:3::1".parse().unwrap();
        assert_eq!(site(one), site(same));
        assert_ne!(site(one), site(other));
        assert_eq!(site("::ffff:192.0.2.1".parse().unwrap()), ADDRESS);
    }
}
