//! Tests of the settings.

use super::*;

fn load(file: &str, variables: &[(&str, &str)], flags: &[(&'static str, &str)]) -> Result<Config, String> {
    let sources = Sources {
        file: (!file.is_empty()).then(|| (PathBuf::from("plimsoll.toml"), file.to_owned())),
        variables: variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        flags: flags.iter().map(|(key, value)| (*key, (*value).to_owned())).collect(),
    };
    Config::load(&sources).map_err(|error| error.to_string())
}

const TOKEN: (&str, &str) = ("PLIMSOLL_TOKENS", "default:0123456789abcdef");

#[test]
fn a_token_is_all_that_must_be_said() {
    let config = load("", &[TOKEN], &[]).unwrap();
    assert_eq!(config.data_dir, PathBuf::from("plimsoll-data"));
    assert_eq!(config.listen.to_string(), "127.0.0.1:7171");
    assert_eq!(config.engine, None);
    assert_eq!(config.engine_cache_bytes(), 16 << 20);
    assert_eq!(config.drift_max, Duration::from_millis(500));
    assert_eq!(config.reserve_bytes, 64 << 20);
    assert_eq!(config.connections_max, 4_096);
    assert_eq!(config.shutdown_grace, Duration::from_secs(30));
    assert_eq!(config.log_format, LogFormat::Text);
    assert_eq!(config.log, "info");
    assert_eq!(config.warnings(), [""; 0]);
    let options = config.node_options();
    assert_eq!((options.rate, options.anonymous), (None, None));
    assert_eq!((options.tenant_transitions_max, options.tenant_bytes_max), (u64::MAX, u64::MAX));
}

#[test]
fn the_cache_is_what_suits_the_engine_unless_it_is_said() {
    let cache = |flags: &[(&'static str, &str)]| load("", &[TOKEN], flags).unwrap().engine_cache_bytes();
    assert_eq!(cache(&[("engine", "redb")]), 16 << 20);
    assert_eq!(cache(&[("engine", "sled")]), 4 << 20);
    assert_eq!(cache(&[("engine", "sled"), ("cache_mib", "96")]), 16 << 20);
    // The engine that is there, whatever the next one would be.
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("sled")).unwrap();
    assert_eq!(cache(&[("data_dir", folder.path().to_str().unwrap())]), 4 << 20);
}

#[test]
fn a_flag_beats_a_variable_beats_the_file_beats_the_default() {
    let file = "max_drift_ms = 1\ncache_mib = 10\nreserve_mib = 100";
    let variables = [TOKEN, ("PLIMSOLL_MAX_DRIFT_MS", "2"), ("PLIMSOLL_CACHE_MIB", "20")];
    let config = load(file, &variables, &[("max_drift_ms", "3")]).unwrap();
    assert_eq!(config.drift_max, Duration::from_millis(3));
    assert_eq!(config.cache_bytes, Some(20 << 20));
    assert_eq!(config.reserve_bytes, 100 << 20);
}

#[test]
fn an_empty_variable_says_nothing() {
    let config = load("listen = \"[::1]:80\"", &[TOKEN, ("PLIMSOLL_LISTEN", "")], &[]).unwrap();
    assert_eq!(config.listen.to_string(), "[::1]:80");
}

#[test]
fn every_setting_has_a_default_that_keeps_its_rule_or_none() {
    let mut config = Config::defaults();
    for setting in SETTINGS {
        assert!(setting.meaning.ends_with('.'), "{}", setting.key);
        if !setting.default.is_empty() {
            assert_eq!(setting.apply(&mut config, setting.default, &Origin::Flag), Ok(()));
        }
    }
}

#[test]
fn an_error_names_the_setting_its_place_and_the_rule() {
    let cases = [
        (
            load("", &[TOKEN, ("PLIMSOLL_CACHE_MIB", "7")], &[]),
            "PLIMSOLL_CACHE_MIB: must be a whole number from 8 to 1048576",
        ),
        (load("", &[TOKEN], &[("max_drift_ms", "soon")]), "--max-drift-ms: must be a whole number from 1 to 60000"),
        (load("listen = 7171", &[TOKEN], &[]), "plimsoll.toml: listen: must be <IP address>:<port>"),
        (load("engine = \"mysql\"", &[TOKEN], &[]), "plimsoll.toml: engine: must be fjall, redb or sled"),
        (load("log_format = \"xml\"", &[TOKEN], &[]), "plimsoll.toml: log_format: must be text or json"),
        (
            load("cache_mib = 1.5", &[TOKEN], &[]),
            "plimsoll.toml: cache_mib: must be a text, a whole number, true, false, or a list of texts",
        ),
        (
            load("rate_burst = 1000001", &[TOKEN], &[]),
            "plimsoll.toml: rate_burst: must be a whole number from 0 to 1000000",
        ),
        (
            load("cash_mib = 8", &[TOKEN], &[]),
            "plimsoll.toml: `cash_mib` is no setting; see `plimsoll serve --help` for those there are",
        ),
    ];
    for (loaded, expected) in cases {
        assert_eq!(loaded.unwrap_err(), expected);
    }
    let broken = load("listen = \"a\"\ncache_mib = = 8", &[TOKEN], &[]).unwrap_err();
    assert!(broken.starts_with("plimsoll.toml, line 2: "), "{broken}");
}

#[test]
fn without_tokens_a_node_can_at_most_be_read() {
    assert!(load("", &[], &[]).unwrap_err().contains("PLIMSOLL_TOKENS=default:<secret>"));
    assert_eq!(load("anon_read = true", &[], &[]).unwrap().anonymous().unwrap().as_str(), "default");
    assert_eq!(load("anon_read = \"a\"", &[], &[]).unwrap().anonymous().unwrap().as_str(), "a");
}

#[test]
fn reads_without_a_token_are_of_a_tenant_that_is_clear() {
    let anonymous = |tokens: &str, read: &str| {
        let config = load("", &[("PLIMSOLL_TOKENS", tokens), ("PLIMSOLL_ANON_READ", read)], &[])?;
        Ok(config.anonymous().map(Into::into))
    };
    let expected = |tenant: &str| Ok(Some(tenant.to_owned()));
    assert_eq!(anonymous("a:1,a:2", "true"), expected("a"));
    assert_eq!(anonymous("a:1,b:2", "b"), expected("b"));
    assert_eq!(anonymous("a:1,b:2", "c"), expected("c"));
    assert_eq!(anonymous("a:1,b:2", "false"), Ok::<_, String>(None));
    assert!(anonymous("a:1,b:2", "true").unwrap_err().contains("name the tenant"));
    assert!(anonymous("a:1", "A").unwrap_err().starts_with("PLIMSOLL_ANON_READ: "));
}

#[test]
fn tokens_are_said_in_one_line_or_in_tables() {
    let line = load("", &[("PLIMSOLL_TOKENS", " a:one:read+write , b:two:read,")], &[]).unwrap();
    let list = load("tokens = [\"a:one\", \"b:two:read\"]", &[], &[]).unwrap();
    let tables = "[[tokens]]\ntenant = \"a\"\nsecret = \"one\"\n[[tokens]]\ntenant = \"b\"\nsecret = \"two\"\nscopes = [\"read\"]";
    let tables = load(tables, &[], &[]).unwrap();
    assert_eq!(line.tokens.len(), 2);
    assert_eq!(line.tokens, list.tokens);
    assert_eq!(line.tokens, tables.tokens);
    assert_eq!(line.warnings().len(), 2);
}

#[test]
fn no_error_repeats_a_secret() {
    let secret = "hush-hush";
    let errors = [
        load("", &[("PLIMSOLL_TOKENS", "a:hush-hush!")], &[]),
        load("", &[("PLIMSOLL_TOKENS", "a:hush-hush:all")], &[]),
        load("", &[("PLIMSOLL_TOKENS", "A:hush-hush")], &[]),
        load("tokens = \"a:hush-hush\" x", &[], &[]),
        load("[[tokens]]\ntenant = \"a\"\nsecret = \"hush-hush\"\nscope = \"read\"", &[], &[]),
        load("[[tokens]]\ntenant = \"a\"\nsecret = [\"hush-hush\"]", &[], &[]),
        load("[[tokens]]\ntenant = \"A\"\nsecret = \"hush-hush\"", &[], &[]),
        load("[[tokens]]\ntenant = \"a\"\nsecret = hush-hush", &[], &[]),
        load("[[tokens]]\ntenant = \"a\"\nhush-hush = \"secret\"", &[], &[]),
        load("[[tokens]]\ntenant = \"a\"\nsecret = \"b\"\nscopes = \"hush-hush\"", &[], &[]),
        load("[[tokens]]\ntenant = [\"hush-hush\"]\nsecret = \"b\"", &[], &[]),
        load("tokens = [[\"hush-hush\"]]", &[], &[]),
        load("tokens = [\"hush-hush,\"]", &[], &[]),
    ];
    for error in errors {
        let error = error.unwrap_err();
        assert!(!error.contains(secret), "{error}");
    }
    let config = load("", &[("PLIMSOLL_TOKENS", "a:hush-hush")], &[]).unwrap();
    assert!(!format!("{config:?} {:?}", config.node_options()).contains(secret));
}

#[test]
fn a_secret_that_is_no_text_is_not_repeated() {
    for value in ["123456", "123456.5", "1979-01-23", "true", "{ a = 123456 }", "[123456]"] {
        let error = load(&format!("[[tokens]]\ntenant = \"a\"\nsecret = {value}"), &[], &[]).unwrap_err();
        assert_eq!(error, "plimsoll.toml: tokens: token 1: its secret must be a text");
        let error = load(&format!("[[tokens]]\ntenant = {value}\nsecret = \"b\""), &[], &[]).unwrap_err();
        assert_eq!(error, "plimsoll.toml: tokens: token 1: its tenant must be a text");
        let error = load(&format!("tokens = {value}"), &[], &[]).unwrap_err();
        assert!(!error.contains("1234") && !error.contains("1979"), "{error}");
    }
}

#[test]
fn two_tokens_have_two_secrets() {
    let rule = "tokens 1 and 3 must not have the same secret";
    let line = load("", &[("PLIMSOLL_TOKENS", "a:one,a:two,b:one:read")], &[]);
    assert_eq!(line.unwrap_err(), format!("PLIMSOLL_TOKENS: {rule}"));
    let table = |tenant, secret| format!("[[tokens]]\ntenant = \"{tenant}\"\nsecret = \"{secret}\"\n");
    let tables = load(&[table("a", "one"), table("a", "two"), table("b", "one")].concat(), &[], &[]);
    assert_eq!(tables.unwrap_err(), format!("plimsoll.toml: tokens: {rule}"));
}

#[test]
fn tokens_are_bounded() {
    let tokens = vec!["a:b"; TOKENS_MAX + 1].join(",");
    let error = load("", &[("PLIMSOLL_TOKENS", &tokens)], &[]).unwrap_err();
    assert_eq!(error, "PLIMSOLL_TOKENS: must be at most 256 tokens, and is 257");
}

#[test]
fn origins_are_as_a_browser_writes_them() {
    let origins =
        |text: &str| load("", &[TOKEN, ("PLIMSOLL_CORS_ORIGINS", text)], &[]).map(|config| config.cors_origins);
    assert_eq!(origins("*"), Ok(CorsOrigins::Any));
    let listed = ["https://a.example", "http://localhost:3000"].map(HeaderValue::from_static).to_vec();
    assert_eq!(origins("https://a.example, http://localhost:3000"), Ok(CorsOrigins::Listed(listed)));
    for text in [
        "a.example",
        "https://",
        "https://a.example/",
        "https://a.example/x",
        "ftp://a.example",
        "https://*.example",
        "*,https://a",
    ] {
        assert!(origins(text).is_err(), "{text}");
    }
}

#[test]
fn a_burst_is_a_second_where_nothing_is_said() {
    let rate =
        |file: &str| load(file, &[TOKEN], &[]).unwrap().rate().map(|rate| (rate.per_second.get(), rate.burst.get()));
    assert_eq!(rate("rate_per_second = 10"), Some((10, 10)));
    assert_eq!(rate("rate_per_second = 10\nrate_burst = 5"), Some((10, 5)));
    assert_eq!(rate("rate_burst = 5"), None);
}

#[test]
fn a_misspelt_variable_is_told() {
    let names =
        ["PATH", "PLIMSOLL_LISTEN", "PLIMSOLL_LISTN", "PLIMSOLL_URL", "PLIMSOLL_TOKENZ", "PLIMSOLL_PORT_7171_TCP"];
    assert_eq!(unknown_variables(names), ["PLIMSOLL_LISTN", "PLIMSOLL_TOKENZ"]);
}

#[test]
fn the_retention_is_longer_than_clocks_may_be_apart() {
    let error = load("retention_s = 2\nmax_drift_ms = 1000", &[TOKEN], &[]).unwrap_err();
    assert!(error.starts_with("retention_s: must be more than twice max_drift_ms"), "{error}");
    assert!(load("retention_s = 2\nmax_drift_ms = 999", &[TOKEN], &[]).is_ok());
}
