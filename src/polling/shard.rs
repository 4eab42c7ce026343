//! Sharding: which accounts this process polls.
//!
//! Each account belongs to one shard. A new shard takes an equal share from each of the others.

use std::num::NonZeroU32;

use anyhow::{Context as _, bail};
use sha2::{Digest as _, Sha256};

use crate::invalid::Invalid;
use crate::vendors::account::AccountConfig;

/// One of several processes with the same configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    index: u32,
    total: NonZeroU32,
}

/// Value of `--shard.index`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShardIndex {
    /// The ordinal at the end of the host name.
    Auto,
    /// This index, from 0.
    At(u32),
}

impl std::str::FromStr for ShardIndex {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match (text, text.parse()) {
            ("auto", _) => Ok(Self::Auto),
            (_, Ok(index)) => Ok(Self::At(index)),
            _ => Err(
                "expected a number from 0, or auto for the ordinal at the end of the host name"
                    .into(),
            ),
        }
    }
}

impl Default for Shard {
    fn default() -> Self {
        Self {
            index: 0,
            total: NonZeroU32::MIN,
        }
    }
}

impl Shard {
    /// Creates a shard with this index, or with the one in the host name.
    ///
    /// Fails if the host name has none, or if the index is not below `total`.
    pub fn new(index: ShardIndex, total: NonZeroU32, host: &str) -> anyhow::Result<Self> {
        let index = match index {
            ShardIndex::At(index) => index,
            ShardIndex::Auto => ordinal(host).with_context(|| {
                format!(
                    "--shard.index=auto: the host name {host:?} does not end in -NUMBER, as \
                    that of a StatefulSet's pod does: give a number"
                )
            })?,
        };
        if index >= total.get() {
            bail!("--shard.index is {index}: expected less than --shard.total, which is {total}");
        }
        Ok(Self { index, total })
    }

    /// Returns the index, from 0.
    #[must_use]
    pub fn index(self) -> u32 {
        self.index
    }

    /// Returns the number of shards.
    #[must_use]
    pub fn total(self) -> u32 {
        self.total.get()
    }

    /// Returns whether the account belongs to this shard.
    #[must_use]
    pub(crate) fn owns(self, account: &AccountConfig) -> bool {
        self.index == owner(account.system.name, &account.name, self.total)
    }
}

/// Returns the index of an account's shard, by rendezvous hashing: the index with the greatest
/// hash.
#[must_use]
pub fn owner(system: &str, account: &str, total: NonZeroU32) -> u32 {
    let weight = |index: &u32| Sha256::digest(format!("{system}\0{account}\0{index}"));
    (0..total.get()).max_by_key(weight).unwrap_or(0)
}

/// Returns the name of this machine or pod.
#[must_use]
pub(crate) fn host_name() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

/// Returns the number after the last hyphen in the first part of a host name.
fn ordinal(host: &str) -> Option<u32> {
    let name = host.split('.').next()?;
    name.rsplit_once('-')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_ordinal_of_a_pod_is_its_shard() {
        let shard = |index: &str, total: u32, host: &str| {
            let total = NonZeroU32::new(total).unwrap();
            Shard::new(index.parse().unwrap(), total, host).map_err(|error| error.to_string())
        };
        assert_eq!(
            shard("auto", 3, "connections-exporter-2").unwrap().index(),
            2
        );
        assert_eq!(shard("auto", 11, "a-10.svc.local").unwrap().index(), 10);
        assert_eq!(shard("0", 1, "x").unwrap(), Shard::default());
        assert_eq!(
            shard("2", 2, "x").unwrap_err(),
            "--shard.index is 2: expected less than --shard.total, which is 2"
        );
        for host in ["", "exporter", "exporter-", "exporter-x", "7", "a-7x"] {
            let error = shard("auto", 9, host).unwrap_err();
            assert!(error.contains("does not end in -NUMBER"), "{error}");
        }
        assert!("".parse::<ShardIndex>().is_err() && "-1".parse::<ShardIndex>().is_err());
    }

    #[test]
    fn each_shard_has_about_its_part() {
        let total = NonZeroU32::new(4).unwrap();
        let mut parts = [0; 4];
        for n in 0..4000 {
            parts[owner("zis", &format!("account-{n}"), total) as usize] += 1;
        }
        assert!(
            parts.iter().all(|part| (850..1150).contains(part)),
            "{parts:?}"
        );
    }

    proptest! {
        #[test]
        fn a_shard_that_is_added_takes_accounts_and_moves_no_others(account in "\\PC{0,40}", total in 1..40_u32) {
            let (few, more) = (NonZeroU32::new(total).unwrap(), NonZeroU32::new(total + 1).unwrap());
            let (before, after) = (owner("zuora", &account, few), owner("zuora", &account, more));
            prop_assert!(before < total);
            prop_assert!(after == before || after == total);
        }
    }
}
