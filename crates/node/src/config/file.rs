//! The file of settings: TOML, each key a setting.

use std::path::Path;

use toml::{Table, Value};

use super::settings::{SETTINGS, Setting, TOKENS};
use super::{Config, ConfigError, Origin};
use crate::access::{Scopes, Token, TokenRule};

/// Applies the settings of a file. The errors of the TOML library quote the line they are about, which may hold a
/// secret, so only what they say and where is taken from them.
pub(super) fn apply(path: &Path, text: &str, config: &mut Config) -> Result<(), ConfigError> {
    let table: Table = text.parse().map_err(|error: toml::de::Error| ConfigError::Syntax {
        path: path.to_path_buf(),
        line: error.span().map_or(1, |span| line_of(text, span.start)),
        rule: error.message().to_owned(),
    })?;
    let origin = Origin::File(path.to_path_buf());
    for (key, value) in table {
        let Some(setting) = SETTINGS.iter().find(|setting| setting.key == key) else {
            return Err(ConfigError::UnknownKey { path: path.to_path_buf(), key });
        };
        match tables(setting, &value) {
            Some(tables) => set_tokens(config, tables).map_err(|rule| setting.broken(rule, &origin))?,
            None => {
                let text = text_of(&value).map_err(|rule| setting.broken(rule, &origin))?;
                setting.apply(config, &text, &origin)?;
            }
        }
    }
    Ok(())
}

fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

/// The `[[tokens]]` of a file.
fn tables<'a>(setting: &Setting, value: &'a Value) -> Option<&'a [Value]> {
    let is_table = |value: &Value| value.is_table();
    value.as_array().filter(|values| setting.key == TOKENS && values.iter().all(is_table)).map(Vec::as_slice)
}

/// A value as a variable would have it.
fn text_of(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Boolean(truth) => Ok(truth.to_string()),
        Value::Array(values) => {
            let texts = values.iter().map(|value| match value {
                Value::String(text) if !text.contains(',') => Ok(text.as_str()),
                _ => Err("must be a list of texts without commas".to_owned()),
            });
            Ok(texts.collect::<Result<Vec<_>, _>>()?.join(","))
        }
        Value::Float(_) | Value::Datetime(_) | Value::Table(_) => {
            Err("must be a text, a whole number, true, false, or a list of texts".to_owned())
        }
    }
}

fn set_tokens(config: &mut Config, tables: &[Value]) -> Result<(), String> {
    let tables = tables.iter().filter_map(Value::as_table);
    let tokens = (1..).zip(tables).map(|(place, table)| token(table).map_err(|rule| format!("token {place}: {rule}")));
    let tokens = tokens.collect::<Result<_, _>>()?;
    config.set_tokens(tokens)
}

/// One of `[[tokens]]`. Its fields are read by hand: a derived reader's errors quote what they did not expect, and that
/// may be the secret, even as the name of a field.
fn token(table: &Table) -> Result<Token, String> {
    if !table.keys().all(|key| TOKEN_KEYS.contains(&key.as_str())) {
        return Err(format!("must have no keys but {}", TOKEN_KEYS.join(", ")));
    }
    let [tenant, secret] = ["tenant", "secret"].map(|key| match table.get(key) {
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(format!("its {key} must be a text")),
        None => Err(format!("must have a {key}")),
    });
    let scopes = match table.get("scopes").map(scopes_text) {
        Some(text) => text?.parse().map_err(|rule: TokenRule| rule.to_string())?,
        None => Scopes::READ_WRITE,
    };
    Token::new(tenant?, secret?, scopes).map_err(|rule| rule.to_string())
}

/// The keys of `[[tokens]]`.
const TOKEN_KEYS: [&str; 3] = ["tenant", "secret", "scopes"];

/// Scopes as a line of tokens has them.
fn scopes_text(value: &Value) -> Result<String, String> {
    let texts = value.as_array().and_then(|values| values.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
    texts.map(|texts| texts.join("+")).ok_or_else(|| "its scopes must be a list of texts".to_owned())
}
