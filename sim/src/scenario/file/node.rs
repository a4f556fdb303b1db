//! What every node is told: `[node]`, judged by the product's own rules.

use std::collections::BTreeMap;

use plimsoll_node::config::{Config, ConfigError, SETTINGS, Setting, Sources};

use super::reader::{Item, Reader, hint};
use crate::scenario::{DiskKind, Settings};

/// Settings that are the simulation's.
pub(crate) const KEPT: [&str; 9] =
    ["listen", "peer_listen", "advertise", "seed", "region", "data_dir", "engine", "tls", "tokens"];

/// A token, without which the product takes no settings.
const SOME_TOKEN: (&str, &str) = ("PLIMSOLL_TOKENS", "acme:simulated-secret-of-all-clients:read+write+admin");

pub(super) const DISKS: [(&str, DiskKind); 2] = [("memory", DiskKind::Memory), ("redb", DiskKind::Redb)];

impl Settings {
    /// What the product takes where nothing is said, on a disk in memory.
    #[must_use]
    pub const fn none() -> Self {
        Self { product: BTreeMap::new(), disk: DiskKind::Memory }
    }
}

/// Reads `[node]`.
pub(super) fn read(mut table: Reader<'_>) -> Settings {
    let mut settings = Settings::none();
    if let Some(disk) = table.item("disk").and_then(|item| item.one_of(&DISKS)) {
        settings.disk = disk;
    }
    let mut is_sound = true;
    for (key, item) in table.all().iter().filter(|(key, _)| *key != "disk") {
        match text_of(key, item) {
            Some(text) => _ = settings.product.insert((*key).to_owned(), text),
            None => is_sound = false,
        }
    }
    if is_sound && let Err(error) = load(&settings.product) {
        table.wrong(error.to_string());
    }
    settings
}

/// A setting that keeps its own rule.
fn text_of(key: &str, item: &Item<'_>) -> Option<String> {
    if KEPT.contains(&key) {
        item.wrong_key("is for the simulation to say, not for the scenario");
        return None;
    }
    let Some(setting) = setting(key) else {
        let keys: Vec<&str> = SETTINGS.iter().map(|setting| setting.key).collect();
        item.wrong_key(format!("is no setting of the product; see docs/configuration.md{}", hint(key, &keys)));
        return None;
    };
    let text = item.plain()?;
    // Rules between settings are looked at once all of them are known.
    match load(&BTreeMap::from([(setting.key.to_owned(), text.clone())])) {
        Err(ConfigError::Invalid { rule, .. }) => {
            item.wrong(rule);
            None
        }
        _ => Some(text),
    }
}

fn setting(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.key == key)
}

fn load(product: &BTreeMap<String, String>) -> Result<Config, ConfigError> {
    let flag = |(key, text): (&String, &String)| setting(key).map(|setting| (setting.key, text.clone()));
    let (name, token) = SOME_TOKEN;
    Config::load(&Sources {
        file: None,
        variables: vec![(name.to_owned(), token.to_owned())],
        flags: product.iter().filter_map(flag).collect(),
    })
}
