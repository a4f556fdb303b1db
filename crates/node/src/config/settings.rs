//! Every setting: one row each.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderValue;
use plimsoll_domain::id::{ClusterName, Region, TenantId};

use super::{AnonRead, Config, ConfigError, CorsOrigins, Origin, VARIABLE_PREFIX};

/// A setting of a node.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its key in the file. Variable and flag follow from it.
    pub key: &'static str,
    /// What `--help` calls its value.
    pub value: &'static str,
    /// What it is where nothing is said; empty for nothing.
    pub default: &'static str,
    /// What it means, in which unit, within which bounds, and when to change it.
    pub meaning: &'static str,
    /// Whether it may stand on a command line, which every user of the machine can read.
    pub has_flag: bool,
    set: fn(&mut Config, &str) -> Result<(), String>,
}

impl Setting {
    /// The variable of the process's environment that makes it.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("{VARIABLE_PREFIX}{}", self.key.to_ascii_uppercase())
    }

    /// The flag that makes it, without the dashes.
    #[must_use]
    pub fn flag(&self) -> String {
        self.key.replace('_', "-")
    }

    /// Whether it may be given several times, each for one more.
    #[must_use]
    pub fn is_list(&self) -> bool {
        self.key == SEED
    }

    pub(super) fn apply(&self, config: &mut Config, text: &str, origin: &Origin) -> Result<(), ConfigError> {
        (self.set)(config, text).map_err(|rule| self.broken(rule, origin))
    }

    pub(super) fn broken(&self, rule: String, origin: &Origin) -> ConfigError {
        ConfigError::Invalid { setting: self.key, origin: origin.clone(), rule }
    }
}

pub(super) const MIB: u64 = 1 << 20;

/// The key of the tokens, which a file may also give as tables.
pub(super) const TOKENS: &str = "tokens";

/// The key of the seeds, which may be given one by one.
const SEED: &str = "seed";

/// So many peers a node may be told to call first.
pub const SEEDS_MAX: usize = 64;

/// The settings there are, in the order of their documentation.
pub const SETTINGS: &[Setting] = &[
    Setting {
        key: "data_dir",
        value: "PATH",
        default: "plimsoll-data",
        meaning: "Where the node keeps everything; made if it is not there. One process has it open at a time.",
        has_flag: true,
        set: |config, text| {
            config.data_dir = PathBuf::from(text);
            if text.is_empty() { Err("must not be empty".to_owned()) } else { Ok(()) }
        },
    },
    Setting {
        key: "listen",
        value: "IP:PORT",
        default: "127.0.0.1:7171",
        meaning: "The address clients connect to; port 0 for any that is free. Plain HTTP: put what ends TLS before a \
                  node that is reached from other machines.",
        has_flag: true,
        set: |config, text| {
            config.listen = text.parse::<SocketAddr>().map_err(|_| "must be <IP address>:<port>".to_owned())?;
            Ok(())
        },
    },
    Setting {
        key: "peer_listen",
        value: "IP:PORT",
        default: "",
        meaning: "The address peers connect to; port 0 for any that is free. Without it the node is alone. Without tls it \
                  must be a loopback address.",
        has_flag: true,
        set: |config, text| {
            let address = text.parse().map_err(|_| "must be <IP address>:<port>".to_owned())?;
            config.peer_listen = Some(address);
            Ok(())
        },
    },
    Setting {
        key: "advertise",
        value: "HOST:PORT",
        default: "",
        meaning: "Where peers reach this node, as its certificate names it; the address of peer_listen where nothing is \
                  said.",
        has_flag: true,
        set: |config, text| host_and_port(text).map(|address| config.advertise = Some(address)),
    },
    Setting {
        key: "advertise_http",
        value: "HOST:PORT",
        default: "",
        meaning: "Where clients reach this node, told in the list of members; where nothing is said, the address of listen, or, if \
                  that is all addresses, the host of advertise with the port of listen.",
        has_flag: true,
        set: |config, text| host_and_port(text).map(|address| config.advertise_http = Some(address)),
    },
    Setting {
        key: SEED,
        value: "HOST:PORT",
        default: "",
        meaning: "Peers to call first, separated by commas or given one by one; at most 64. One that answers tells of all \
                  others. A node may be among its own seeds.",
        has_flag: true,
        set: |config, text| {
            let seeds = text.split(',').map(str::trim).filter(|seed| !seed.is_empty()).map(host_and_port);
            config.seed = seeds.collect::<Result<Vec<_>, _>>()?;
            if config.seed.len() > SEEDS_MAX { Err(format!("must be at most {SEEDS_MAX}")) } else { Ok(()) }
        },
    },
    Setting {
        key: "region",
        value: "NAME",
        default: "default",
        meaning: "Where this node is: 1 to 32 of a-z 0-9 - _ and the full stop. Facts cross from one region to another once.",
        has_flag: true,
        set: |config, text| {
            config.region = Region::parse(text).map_err(|rule| rule.to_string())?;
            Ok(())
        },
    },
    Setting {
        key: "cluster",
        value: "NAME",
        default: "plimsoll",
        meaning: "The cluster this node is of: 1 to 64 of a-z 0-9 - _ and the full stop. Nodes of another one are turned away, \
                  and a data directory keeps to the one it was first started in.",
        has_flag: true,
        set: |config, text| {
            config.cluster = ClusterName::parse(text).map_err(|rule| rule.to_string())?;
            Ok(())
        },
    },
    Setting {
        key: "tls",
        value: "DIR",
        default: "",
        meaning: "The folder of ca.pem, node.pem and node.key, as plimsoll tls makes them: peers then show each other who \
                  they are. Renewed files are taken up while the node runs.",
        has_flag: true,
        set: |config, text| {
            config.tls = Some(PathBuf::from(text));
            if text.is_empty() { Err("must not be empty".to_owned()) } else { Ok(()) }
        },
    },
    Setting {
        key: "ack_timeout_ms",
        value: "MS",
        default: "5000",
        meaning: "How long a write with Plimsoll-Ack waits for other members' disks before it is answered with 504, 1 to 60000 \
                  ms.",
        has_flag: true,
        set: |config, text| number(text, 1, 60_000).map(|millis| config.ack_timeout = Duration::from_millis(millis)),
    },
    Setting {
        key: "repair_timeout_ms",
        value: "MS",
        default: "500",
        meaning: "How long all members together may take to say whether they know a ref that this node does not, 1 to 60000 \
                  ms; then the write is answered with 503. Raise it where members are far apart.",
        has_flag: true,
        set: |config, text| number(text, 1, 60_000).map(|millis| config.repair_timeout = Duration::from_millis(millis)),
    },
    Setting {
        key: "pulse_ms",
        value: "MS",
        default: "4000",
        meaning: "The longest time between two signs of life to a peer, 100 to 60000 ms, and so the age of what an idle node \
                  knows. A peer that misses three is taken to be cut off. Each costs some hundred bytes.",
        has_flag: true,
        set: |config, text| number(text, 100, 60_000).map(|millis| config.pulse = Duration::from_millis(millis)),
    },
    Setting {
        key: "retention_s",
        value: "SECONDS",
        default: "604800",
        meaning: "How long a retired artifact is kept, 1 to 315360000 s; the default is 7 days. After that, once every member has \
                  had it, it is forgotten with its history, and its transition ids may be used again: let it be longer than \
                  any retry, and more than twice max_drift_ms. A member that is away for longer has to start afresh. The same on \
                  every node.",
        has_flag: true,
        set: |config, text| number(text, 1, 315_360_000).map(|seconds| config.retention = Duration::from_secs(seconds)),
    },
    Setting {
        key: "engine",
        value: "NAME",
        default: "",
        meaning: "The storage engine of a new data directory: fjall (the default), redb or sled. An existing one opens \
                  with its own, and not at all where another is given.",
        has_flag: true,
        set: |config, text| {
            config.engine =
                Some(text.parse().map_err(|error: plimsoll_store::directory::NoSuchEngine| error.to_string())?);
            Ok(())
        },
    },
    Setting {
        key: "cache_mib",
        value: "MIB",
        default: "",
        meaning: "Memory for caches, 8 to 1048576 MiB: a sixth for the engine, a third for cursors at some 300 bytes an \
                  artifact, half for what the next write must know of one, at some 500. Raise it until the artifacts \
                  in use fit. Without it 96 MiB; with sled, which needs some 110 MiB beside it, 24.",
        has_flag: true,
        set: |config, text| number(text, 8, 1 << 20).map(|mib| config.cache_bytes = Some(mib * MIB)),
    },
    Setting {
        key: "max_drift_ms",
        value: "MS",
        default: "500",
        meaning: "How far ahead of this node's clock a committed_version or a peer's fact may lie, 1 to 60000 ms, and how far \
                  off its peers' clocks this node's may be before it takes no writes. Raise it where clocks cannot be kept \
                  closer, at all nodes alike.",
        has_flag: true,
        set: |config, text| number(text, 1, 60_000).map(|millis| config.drift_max = Duration::from_millis(millis)),
    },
    Setting {
        key: TOKENS,
        value: "LIST",
        default: "",
        meaning: "Who may do what: tenant:secret or tenant:secret:scopes, separated by commas, at most 256. Scopes are \
                  read, write and admin, joined by +; read+write where none are given. A secret is 1 to 256 of A-Z a-z \
                  0-9 - . _ ~ + / and ends in any number of =; no two tokens have the same. In a file also [[tokens]] with \
                  tenant, secret, scopes.",
        has_flag: false,
        set: |config, text| {
            let tokens = text.split(',').map(str::trim).filter(|token| !token.is_empty());
            let tokens = (1..).zip(tokens).map(|(place, token)| {
                token.parse().map_err(|rule: crate::access::TokenRule| format!("token {place}: {rule}"))
            });
            config.set_tokens(tokens.collect::<Result<_, _>>()?)
        },
    },
    Setting {
        key: "anon_read",
        value: "TENANT",
        default: "false",
        meaning: "The tenant whose projections are read without a token; true for the one tenant of the tokens, or \
                  `default` where there are none; false for no such thing.",
        has_flag: true,
        set: |config, text| {
            config.anon_read = match text {
                "false" => AnonRead::Nothing,
                "true" => AnonRead::OnlyTenant,
                tenant => AnonRead::Tenant(TenantId::parse(tenant).map_err(|rule| rule.to_string())?),
            };
            Ok(())
        },
    },
    Setting {
        key: "cors_origins",
        value: "LIST",
        default: "",
        meaning: "The origins whose pages may call the API from a browser, as https://app.example, separated by commas; \
                  * for all; none where nothing is said.",
        has_flag: true,
        set: |config, text| origins(text).map(|origins| config.cors_origins = origins),
    },
    Setting {
        key: "rate_per_second",
        value: "REQUESTS",
        default: "0",
        meaning: "Requests a second one tenant may make in the long run, up to 1000000; a line of a batch counts as \
                  one; 0 for no limit. Set it where tenants must not starve each other.",
        has_flag: true,
        set: |config, text| number_u32(text, 0, 1_000_000).map(|requests| config.rate_per_second = requests),
    },
    Setting {
        key: "rate_burst",
        value: "REQUESTS",
        default: "0",
        meaning: "Requests one tenant may make at once after a rest, up to 1000000; 0 for as many as in a second.",
        has_flag: true,
        set: |config, text| number_u32(text, 0, 1_000_000).map(|requests| config.rate_burst = requests),
    },
    Setting {
        key: "tenant_transitions_max",
        value: "COUNT",
        default: "0",
        meaning: "Transitions and tombstones one tenant may keep; 0 for no quota. What is beyond is answered with 507.",
        has_flag: true,
        set: |config, text| number(text, 0, u64::MAX).map(|count| config.tenant_transitions_max = count),
    },
    Setting {
        key: "tenant_bytes_max_mib",
        value: "MIB",
        default: "0",
        meaning: "What a tenant's transitions may occupy, in MiB, without indexes; 0 for no quota.",
        has_flag: true,
        set: |config, text| number(text, 0, u64::MAX / MIB).map(|mib| config.tenant_bytes_max = mib * MIB),
    },
    Setting {
        key: "reserve_mib",
        value: "MIB",
        default: "64",
        meaning: "What to leave free on the data disk, in MiB, up to 1048576: below it writes are answered with 507, and \
                  taken again once there is room.",
        has_flag: true,
        set: |config, text| number(text, 0, 1 << 20).map(|mib| config.reserve_bytes = mib * MIB),
    },
    Setting {
        key: "connections_max",
        value: "COUNT",
        default: "4096",
        meaning: "Connections served at once, 1 to 1000000; more wait to be accepted. Each takes a file descriptor and, \
                  while it is used, some ten KiB.",
        has_flag: true,
        set: |config, text| number_u32(text, 1, 1_000_000).map(|count| config.connections_max = count as usize),
    },
    Setting {
        key: "shutdown_grace_s",
        value: "S",
        default: "30",
        meaning: "How long requests may take to finish once the node is told to stop, 0 to 3600 seconds. Keep it below \
                  what the supervisor waits before it kills.",
        has_flag: true,
        set: |config, text| number(text, 0, 3_600).map(|seconds| config.shutdown_grace = Duration::from_secs(seconds)),
    },
    Setting {
        key: "log_format",
        value: "FORMAT",
        default: "text",
        meaning: "How the log on standard error is written: text for people, json for programs.",
        has_flag: true,
        set: |config, text| text.parse().map(|format| config.log_format = format).map_err(str::to_owned),
    },
    Setting {
        key: "log",
        value: "FILTER",
        default: "info",
        meaning: "What is logged: a level (error, warn, info, debug, trace), or levels by module, as \
                  info,plimsoll_node=debug, which logs every request.",
        has_flag: true,
        set: |config, text| {
            text.clone_into(&mut config.log);
            Ok(())
        },
    },
];

fn number(text: &str, min: u64, max: u64) -> Result<u64, String> {
    let rule = || match max {
        u64::MAX => format!("must be a whole number of at least {min}"),
        _ => format!("must be a whole number from {min} to {max}"),
    };
    let number = text.parse().map_err(|_| rule())?;
    if (min..=max).contains(&number) { Ok(number) } else { Err(rule()) }
}

fn number_u32(text: &str, min: u32, max: u32) -> Result<u32, String> {
    Ok(u32::try_from(number(text, min.into(), max.into())?).expect("no more than the bound"))
}

/// A host, by name or address, and a port.
fn host_and_port(text: &str) -> Result<String, String> {
    let is_host = |host: &str| {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        match bare {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => (1..=253).contains(&host.len()) && host.bytes().all(is_name),
        }
    };
    match text.rsplit_once(':') {
        Some((host, port)) if is_host(host) && port.parse::<u16>().is_ok() => Ok(text.to_owned()),
        _ => Err(format!("{text:?} must be <host>:<port>, an IPv6 address in brackets")),
    }
}

fn origins(text: &str) -> Result<CorsOrigins, String> {
    let origins: Vec<&str> = text.split(',').map(str::trim).filter(|origin| !origin.is_empty()).collect();
    match origins.as_slice() {
        [] => Ok(CorsOrigins::None),
        ["*"] => Ok(CorsOrigins::Any),
        origins => Ok(CorsOrigins::Listed(origins.iter().map(|text| origin(text)).collect::<Result<_, _>>()?)),
    }
}

/// An origin as a browser writes it: scheme, host, and the port if it is not the scheme's.
fn origin(text: &str) -> Result<HeaderValue, String> {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let is_host =
        |host: &str| !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic() && !b"/?#@*".contains(&byte));
    match HeaderValue::from_str(text) {
        Ok(value) if host.is_some_and(is_host) => Ok(value),
        _ => Err(format!("{text:?} must be http:// or https://, a host, and a port where it is not the usual one")),
    }
}
