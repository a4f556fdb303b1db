//! The settings of a node.
//!
//! The one idea: a setting is one row of [`SETTINGS`]. Its key in the file, its variable, its flag, its documentation
//! and its rule are that row, so they cannot part. A file, variables and flags are three lists of (key, text); they are
//! applied in that order, each over the one before: a flag beats a variable, a variable the file, the file the default.
//!
//! Nothing here reads a file or the process's environment: the owner does, once, and hands over what it found. Secrets
//! are turned into digests while they are parsed; neither a [`Config`] nor a [`ConfigError`] holds one.

mod file;
mod settings;

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use http::HeaderValue;
use plimsoll_domain::id::{ClusterName, Region, TenantId};
use plimsoll_store::directory::{Directory, EngineKind};
use plimsoll_wire::peer::v1::SPOKEN;
use thiserror::Error;

use settings::MIB;
pub use settings::{SEEDS_MAX, SETTINGS, Setting};

use crate::access::{TOKENS_MAX, Token};
use crate::node::{ClusterSettings, NodeOptions};
use crate::rate::Rate;

/// What the variables of settings begin with.
pub const VARIABLE_PREFIX: &str = "PLIMSOLL_";

/// What reads without a token see where no token is configured, and `anon_read` does not name a tenant.
const LONE_TENANT: &str = "default";

/// The settings of a node. Each field is a row of [`SETTINGS`], which documents it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where the data directory is.
    pub data_dir: PathBuf,
    /// The address clients connect to.
    pub listen: SocketAddr,
    /// The address peers connect to; `None` for a node alone.
    pub peer_listen: Option<SocketAddr>,
    /// Where peers reach this node: `<host>:<port>`.
    pub advertise: Option<String>,
    /// Where clients reach this node: `<host>:<port>`.
    pub advertise_http: Option<String>,
    /// Peers to call first.
    pub seed: Vec<String>,
    /// Where this node is.
    pub region: Region,
    /// The cluster it is of.
    pub cluster: ClusterName,
    /// The folder of its certificates.
    pub tls: Option<PathBuf>,
    /// How long a write waits for other members' disks.
    pub ack_timeout: Duration,
    /// How long other members may take to say whether they know a ref.
    pub repair_timeout: Duration,
    /// The longest time between two signs of life.
    pub pulse: Duration,
    /// How long what was retired is kept.
    pub retention: Duration,
    /// The engine of a new data directory; an existing one has to be of it.
    pub engine: Option<EngineKind>,
    /// Bytes of memory for everything that is cached; `None` for what suits the engine.
    pub cache_bytes: Option<u64>,
    /// How far ahead of this node's clock a token may lie.
    pub drift_max: Duration,
    /// The tokens the node knows.
    pub tokens: Vec<Token>,
    /// What requests without a token may read.
    pub anon_read: AnonRead,
    /// Which origins' pages may call the API.
    pub cors_origins: CorsOrigins,
    /// Requests a second of one tenant; 0 for no limit.
    pub rate_per_second: u32,
    /// Requests at once of one tenant; 0 for as many as in a second.
    pub rate_burst: u32,
    /// Transitions and tombstones of one tenant; 0 for no quota.
    pub tenant_transitions_max: u64,
    /// Bytes of them; 0 for no quota.
    pub tenant_bytes_max: u64,
    /// Bytes to leave free on the data disk.
    pub reserve_bytes: u64,
    /// Connections that are served at once.
    pub connections_max: usize,
    /// How long requests may take to finish once the node stops.
    pub shutdown_grace: Duration,
    /// How the log is written.
    pub log_format: LogFormat,
    /// What is logged.
    pub log: String,
}

/// What requests without a token may read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnonRead {
    /// Nothing.
    Nothing,
    /// The projections of the one tenant there is.
    OnlyTenant,
    /// The projections of this tenant.
    Tenant(TenantId),
}

/// Which origins' pages may call the API from a browser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CorsOrigins {
    /// Only those of the node's own.
    None,
    /// All.
    Any,
    /// These.
    Listed(Vec<HeaderValue>),
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

impl FromStr for LogFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("must be text or json"),
        }
    }
}

/// Where a setting was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// In the file.
    File(PathBuf),
    /// By a variable of the process's environment.
    Variable,
    /// By a flag.
    Flag,
}

/// The settings cannot be used. Its text names the setting, where it was made, and the rule it breaks.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// The file is not TOML.
    #[error("{}, line {line}: {rule}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where in it, counted from 1.
        line: usize,
        /// What was expected.
        rule: String,
    },
    /// The file has a key that is no setting.
    #[error("{}: `{key}` is no setting; see `plimsoll serve --help` for those there are", path.display())]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
    },
    /// A setting breaks its rule.
    #[error("{}: {rule}", Place { setting, origin })]
    Invalid {
        /// Its key.
        setting: &'static str,
        /// Where it was made.
        origin: Origin,
        /// The rule it breaks.
        rule: String,
    },
    /// `anon_read` leaves open what may be read.
    #[error("anon_read: `true` is clear only where all tokens are of one tenant: name the tenant")]
    AnonReadAmbiguous,
    /// What is stamped now could be as old as what is forgotten.
    #[error(
        "retention_s: must be more than twice max_drift_ms, by which clocks may be apart: {} s is not more than twice {} ms",
        retention.as_secs(), drift_max.as_millis()
    )]
    RetentionTooShort {
        /// The retention.
        retention: Duration,
        /// How far clocks may be apart.
        drift_max: Duration,
    },
    /// Nobody could do anything.
    #[error(
        "no token is configured, so no request could be answered. Make a secret, say with `openssl rand -hex 32`, and \
         set PLIMSOLL_TOKENS=default:<secret>, or [[tokens]] in the file. A node without tokens can only be read from, \
         with PLIMSOLL_ANON_READ=<tenant>"
    )]
    NoTokens,
}

/// Names a setting as whoever made it knows it.
struct Place<'a> {
    setting: &'a str,
    origin: &'a Origin,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let setting = SETTINGS.iter().find(|setting| setting.key == self.setting);
        match (self.origin, setting) {
            (Origin::Variable, Some(setting)) => formatter.write_str(&setting.variable()),
            (Origin::Flag, Some(setting)) => write!(formatter, "--{}", setting.flag()),
            (Origin::File(path), _) => write!(formatter, "{}: {}", path.display(), self.setting),
            (_, None) => formatter.write_str(self.setting),
        }
    }
}

/// What was found of settings, before anything is made of it. It holds secrets, so it cannot be printed.
#[derive(Clone, Default)]
pub struct Sources {
    /// The file, if there is one: where it is, and its text.
    pub file: Option<(PathBuf, String)>,
    /// Variables of the process's environment: name and value. Those that are no settings are passed over, and so are
    /// empty ones.
    pub variables: Vec<(String, String)>,
    /// Flags: the key of a setting, and its text.
    pub flags: Vec<(&'static str, String)>,
}

impl Config {
    /// The settings that were found, over the defaults.
    ///
    /// # Errors
    /// [`ConfigError`]: the first that cannot be used.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let mut config = Self::defaults();
        if let Some((path, text)) = &sources.file {
            file::apply(path, text, &mut config)?;
        }
        for (name, value) in sources.variables.iter().filter(|(_, value)| !value.is_empty()) {
            if let Some(setting) = SETTINGS.iter().find(|setting| setting.variable() == *name) {
                setting.apply(&mut config, value, &Origin::Variable)?;
            }
        }
        for (key, value) in &sources.flags {
            if let Some(setting) = SETTINGS.iter().find(|setting| setting.key == *key) {
                setting.apply(&mut config, value, &Origin::Flag)?;
            }
        }
        config.check()?;
        Ok(config)
    }

    fn defaults() -> Self {
        let mut config = Self {
            data_dir: PathBuf::new(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            peer_listen: None,
            advertise: None,
            advertise_http: None,
            seed: Vec::new(),
            region: Region::parse("default").expect("it is of these letters"),
            cluster: ClusterName::parse("plimsoll").expect("it is of these letters"),
            tls: None,
            ack_timeout: Duration::ZERO,
            repair_timeout: Duration::ZERO,
            pulse: Duration::ZERO,
            retention: Duration::ZERO,
            engine: None,
            cache_bytes: None,
            drift_max: Duration::ZERO,
            tokens: Vec::new(),
            anon_read: AnonRead::Nothing,
            cors_origins: CorsOrigins::None,
            rate_per_second: 0,
            rate_burst: 0,
            tenant_transitions_max: 0,
            tenant_bytes_max: 0,
            reserve_bytes: 0,
            connections_max: 0,
            shutdown_grace: Duration::ZERO,
            log_format: LogFormat::Text,
            log: String::new(),
        };
        for setting in SETTINGS.iter().filter(|setting| !setting.default.is_empty()) {
            setting.apply(&mut config, setting.default, &Origin::Flag).expect("a test applies every default");
        }
        config
    }

    fn check(&self) -> Result<(), ConfigError> {
        if self.tokens.is_empty() && self.anon_read == AnonRead::Nothing {
            return Err(ConfigError::NoTokens);
        }
        let one_tenant = self.tokens.windows(2).all(|pair| pair[0].tenant() == pair[1].tenant());
        if self.anon_read == AnonRead::OnlyTenant && !one_tenant {
            return Err(ConfigError::AnonReadAmbiguous);
        }
        let Self { retention, drift_max, .. } = *self;
        if retention <= 2 * drift_max {
            return Err(ConfigError::RetentionTooShort { retention, drift_max });
        }
        Ok(())
    }

    /// What is allowed, and unwise: a sentence each.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let unsafe_tokens = self.tokens.iter().enumerate().filter(|(_, token)| !token.is_safe());
        unsafe_tokens
            .map(|(place, token)| {
                let (place, tenant) = (place + 1, token.tenant());
                format!("the secret of token {place}, of tenant {tenant}, is short enough to be guessed")
            })
            .collect()
    }

    /// The engine's share of the cache: a sixth, for the scans and lists that nothing else caches.
    #[must_use]
    pub fn engine_cache_bytes(&self) -> u64 {
        self.cache_bytes() / 6
    }

    /// Bytes of memory for everything that is cached: what was said, or else what keeps a node with 100,000 artifacts below 200 MiB
    /// (`docs/benchmarks.md`, *Memory and disk*).
    fn cache_bytes(&self) -> u64 {
        let engine = Directory::kind_of(&self.data_dir).or(self.engine).unwrap_or_default();
        self.cache_bytes.unwrap_or(match engine {
            EngineKind::Fjall | EngineKind::Redb => 96 * MIB,
            EngineKind::Sled => 24 * MIB,
        })
    }

    /// What the node is told.
    #[must_use]
    pub fn node_options(&self) -> NodeOptions {
        let unless_zero = |number: u64| if number == 0 { u64::MAX } else { number };
        let cache_bytes = self.cache_bytes();
        NodeOptions {
            cluster: self.peer_listen.is_some().then(|| self.cluster_settings()),
            ack_timeout: self.ack_timeout,
            has_test_controls: false,
            drift_max: self.drift_max,
            cursor_cache_bytes: cache_bytes / 3,
            head_cache_bytes: cache_bytes / 2,
            tenant_transitions_max: unless_zero(self.tenant_transitions_max),
            tenant_bytes_max: unless_zero(self.tenant_bytes_max),
            reserve_bytes: self.reserve_bytes,
            retention: self.retention,
            legacy: Vec::new(),
            tokens: self.tokens.clone(),
            anonymous: self.anonymous(),
            rate: self.rate(),
            cors_origins: self.cors_origins.clone(),
            connections_max: self.connections_max,
            shutdown_grace: self.shutdown_grace,
        }
    }

    fn cluster_settings(&self) -> ClusterSettings {
        ClusterSettings {
            cluster: self.cluster.clone(),
            region: self.region.clone(),
            advertise: self.advertise.clone(),
            advertise_http: self.advertise_http.clone(),
            seeds: self.seed.clone(),
            pulse: self.pulse,
            repair_timeout: self.repair_timeout,
            versions: SPOKEN,
        }
    }

    fn anonymous(&self) -> Option<TenantId> {
        match &self.anon_read {
            AnonRead::Nothing => None,
            AnonRead::Tenant(tenant) => Some(tenant.clone()),
            AnonRead::OnlyTenant => match self.tokens.first() {
                Some(token) => Some(token.tenant().clone()),
                None => Some(TenantId::parse(LONE_TENANT).expect("a tenant's name is of these letters")),
            },
        }
    }

    fn rate(&self) -> Option<Rate> {
        let per_second = NonZeroU32::new(self.rate_per_second)?;
        Some(Rate { per_second, burst: NonZeroU32::new(self.rate_burst).unwrap_or(per_second) })
    }

    fn set_tokens(&mut self, tokens: Vec<Token>) -> Result<(), String> {
        if tokens.len() > TOKENS_MAX {
            return Err(format!("must be at most {TOKENS_MAX} tokens, and is {}", tokens.len()));
        }
        let places = 1..=tokens.len();
        for (place, token) in places.zip(&tokens) {
            if let Some(before) = tokens[..place - 1].iter().position(|other| other.has_secret_of(token)) {
                // Whose write would it be?
                return Err(format!("tokens {} and {place} must not have the same secret", before + 1));
            }
        }
        self.tokens = tokens;
        Ok(())
    }
}

/// The variables that look like settings and are none: misspelt, perhaps.
#[must_use]
pub fn unknown_variables<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let mut names: Vec<&str> = names.into_iter().filter(|name| is_unknown(name)).collect();
    names.sort_unstable();
    names
}

/// Variables that are not the node's, and not wrong: what the command line takes besides settings, and what Kubernetes
/// sets for a service named `plimsoll`.
const OTHER_VARIABLES: [&str; 5] = ["CONFIG", "URL", "TOKEN", "PORT", "SERVICE"];

fn is_unknown(name: &str) -> bool {
    let Some(rest) = name.strip_prefix(VARIABLE_PREFIX) else { return false };
    let is_other =
        |other: &str| rest.strip_prefix(other).is_some_and(|after| after.is_empty() || after.starts_with('_'));
    !SETTINGS.iter().any(|setting| setting.variable() == name) && !OTHER_VARIABLES.into_iter().any(is_other)
}

#[cfg(test)]
mod tests;
