//! Who may do what: bearer tokens, each of one tenant.
//!
//! The one idea: a node keeps no secret, only digests of them. A presented secret is hashed and the digest compared with
//! every known one in constant time, so neither the time of an answer nor the node's memory tells anything about them.
//!
//! It does not know users or sessions, and it does not slow down guessing: a secret is expected to be a random one.

use std::fmt;
use std::str::FromStr;

use http::{HeaderMap, HeaderValue, header};
use plimsoll_domain::id::{TenantId, TextRule};
use plimsoll_wire::problem::Kind;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use thiserror::Error;

use crate::http::error::ApiError;

/// The most tokens a node knows: each request is compared with all of them, at some ten nanoseconds each.
pub const TOKENS_MAX: usize = 256;

/// The most bytes of a secret; what is longer is not hashed.
pub const SECRET_BYTES_MAX: usize = 256;

/// A secret of fewer bytes can be guessed, even one that is random.
const SECRET_BYTES_SAFE: usize = 16;

/// What a request needs a token for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Scope {
    /// To look.
    Read = 1,
    /// To post transitions and to retire artifacts.
    Write = 2,
    /// What is the operator's.
    Admin = 4,
}

impl Scope {
    const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Admin];

    /// Its name in configuration and challenges.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }

    const fn bit(self) -> u8 {
        self as u8
    }
}

/// What a token may be used for. Scopes do not imply one another.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    /// To read and to write: what a token has where nothing is said.
    pub const READ_WRITE: Self = Self(Scope::Read.bit() | Scope::Write.bit());

    /// Whether a scope is among them.
    #[must_use]
    pub const fn contains(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Scope::ALL.into_iter().filter(|scope| self.contains(*scope)).map(Scope::name);
        formatter.debug_set().entries(names).finish()
    }
}

/// Names separated by `+`.
impl FromStr for Scopes {
    type Err = TokenRule;

    fn from_str(text: &str) -> Result<Self, TokenRule> {
        let mut bits = 0;
        for name in text.split('+') {
            let scope = Scope::ALL.into_iter().find(|scope| scope.name() == name).ok_or(TokenRule::Scopes)?;
            bits |= scope.bit();
        }
        Ok(Self(bits))
    }
}

/// A rule that the text of a token breaks. It never repeats the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TokenRule {
    /// It is not of the form `tenant:secret[:scopes]`.
    #[error("must be tenant:secret or tenant:secret:scopes")]
    Form,
    /// The tenant's name breaks a rule.
    #[error("its tenant {0}")]
    Tenant(TextRule),
    /// The secret could not be sent as a bearer token (RFC 6750, section 2.1).
    #[error("its secret must be 1 to {SECRET_BYTES_MAX} characters of A-Z a-z 0-9 - . _ ~ + /, then any number of =")]
    Secret,
    /// A scope there is none of.
    #[error("its scopes must be read, write or admin, joined by +")]
    Scopes,
}

/// A token as a node knows it: without its secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    tenant: TenantId,
    scopes: Scopes,
    digest: [u8; blake3::OUT_LEN],
    safe: bool,
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Token")
            .field("tenant", &self.tenant)
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

impl Token {
    /// A token of a tenant.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn new(tenant: &str, secret: &str, scopes: Scopes) -> Result<Self, TokenRule> {
        let tenant = TenantId::parse(tenant).map_err(TokenRule::Tenant)?;
        if !is_bearer(secret.as_bytes()) {
            return Err(TokenRule::Secret);
        }
        let digest = blake3::hash(secret.as_bytes()).into();
        Ok(Self { tenant, scopes, digest, safe: secret.len() >= SECRET_BYTES_SAFE })
    }

    /// The tenant it speaks for.
    #[must_use]
    pub const fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// Whether another token has the same secret.
    #[must_use]
    pub fn has_secret_of(&self, other: &Self) -> bool {
        self.digest == other.digest
    }

    /// Whether the secret is long enough not to be guessed, if it is random.
    #[must_use]
    pub const fn is_safe(&self) -> bool {
        self.safe
    }
}

/// `tenant:secret` or `tenant:secret:scopes`. There is no way to quote: neither `:` nor `,` can be part of a secret,
/// because no bearer token has them.
impl FromStr for Token {
    type Err = TokenRule;

    fn from_str(text: &str) -> Result<Self, TokenRule> {
        let mut parts = text.split(':');
        let (Some(tenant), Some(secret), scopes, None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenRule::Form);
        };
        Self::new(tenant, secret, scopes.map_or(Ok(Scopes::READ_WRITE), str::parse)?)
    }
}

/// Whether bytes are a `b64token` of RFC 6750, of a length that is hashed.
fn is_bearer(secret: &[u8]) -> bool {
    let body = secret.iter().rposition(|byte| *byte != b'=').map_or(0, |last| last + 1);
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(byte);
    (1..=SECRET_BYTES_MAX).contains(&secret.len()) && body > 0 && secret[..body].iter().all(allowed)
}

/// Who may do what on a node.
#[derive(Debug)]
pub(crate) struct Access {
    tokens: Box<[Token]>,
    anonymous: Option<TenantId>,
}

impl Access {
    /// Knows the tokens; `anonymous` is the tenant that a read without a token sees, where that is allowed.
    pub(crate) fn new(tokens: Vec<Token>, anonymous: Option<TenantId>) -> Self {
        assert!(tokens.len() <= TOKENS_MAX, "{} tokens are known; the configuration allows fewer", tokens.len());
        Self { tokens: tokens.into(), anonymous }
    }

    /// The tenant a request speaks for, if it may do what `scope` covers.
    pub(crate) fn authorize(&self, headers: &HeaderMap, scope: Scope) -> Result<TenantId, ApiError> {
        let Some(authorization) = headers.get(header::AUTHORIZATION) else {
            return match &self.anonymous {
                Some(tenant) if scope == Scope::Read => Ok(tenant.clone()),
                _ => Err(unauthenticated("send a token: Authorization: Bearer <token>", "Bearer realm=\"plimsoll\"")),
            };
        };
        let token = bearer(authorization).and_then(|secret| self.find(secret)).ok_or_else(|| {
            unauthenticated("this node does not know the token", "Bearer realm=\"plimsoll\", error=\"invalid_token\"")
        })?;
        if !token.scopes.contains(scope) {
            return Err(forbidden(scope));
        }
        Ok(token.tenant.clone())
    }

    /// Compares with every token, whether or not one was found already.
    fn find(&self, secret: &[u8]) -> Option<&Token> {
        let digest = blake3::hash(secret);
        let mut found = 0_u32;
        for (place, token) in (1_u32..).zip(&self.tokens) {
            let equal: Choice = digest.as_bytes().ct_eq(&token.digest);
            found.conditional_assign(&place, equal);
        }
        self.tokens.get(usize::try_from(found).ok()?.checked_sub(1)?)
    }
}

/// The secret of an `Authorization` header of the `Bearer` scheme.
fn bearer(authorization: &HeaderValue) -> Option<&[u8]> {
    let (scheme, rest) = authorization.as_bytes().split_at_checked(7)?;
    if !scheme.eq_ignore_ascii_case(b"bearer ") {
        return None;
    }
    let secret = rest.trim_ascii();
    (secret.len() <= SECRET_BYTES_MAX).then_some(secret)
}

fn unauthenticated(detail: &'static str, challenge: &'static str) -> ApiError {
    ApiError::new(Kind::Unauthenticated, detail).header(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
}

fn forbidden(scope: Scope) -> ApiError {
    let challenge = HeaderValue::from_static(match scope {
        Scope::Read => "Bearer realm=\"plimsoll\", error=\"insufficient_scope\", scope=\"read\"",
        Scope::Write => "Bearer realm=\"plimsoll\", error=\"insufficient_scope\", scope=\"write\"",
        Scope::Admin => "Bearer realm=\"plimsoll\", error=\"insufficient_scope\", scope=\"admin\"",
    });
    ApiError::new(Kind::Forbidden, format!("the token lacks the scope `{}`", scope.name()))
        .header(header::WWW_AUTHENTICATE, challenge)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(tokens: &str, anonymous: Option<&str>) -> Access {
        let tokens = tokens.split(',').filter(|text| !text.is_empty()).map(|text| text.parse().unwrap()).collect();
        Access::new(tokens, anonymous.map(|tenant| TenantId::parse(tenant).unwrap()))
    }

    fn ask(access: &Access, authorization: Option<&str>, scope: Scope) -> Result<String, u16> {
        let mut headers = HeaderMap::new();
        if let Some(authorization) = authorization {
            headers.insert(header::AUTHORIZATION, authorization.parse().unwrap());
        }
        access.authorize(&headers, scope).map(Into::into).map_err(|error| error.problem.status)
    }

    #[test]
    fn a_token_speaks_for_its_tenant_within_its_scopes() {
        let access = access("a:one,a:two:read,b:three:write,b:four:read+admin", None);
        let cases = [
            ("Bearer one", [Ok("a"), Ok("a"), Err(403)]),
            ("bearer two", [Ok("a"), Err(403), Err(403)]),
            ("BEARER  three ", [Err(403), Ok("b"), Err(403)]),
            ("Bearer four", [Ok("b"), Err(403), Ok("b")]),
            ("Bearer five", [Err(401); 3]),
            ("Bearer ", [Err(401); 3]),
            ("Bearer", [Err(401); 3]),
            ("Basic one", [Err(401); 3]),
            ("one", [Err(401); 3]),
        ];
        for (authorization, expected) in cases {
            let answers = Scope::ALL.map(|scope| ask(&access, Some(authorization), scope));
            assert_eq!(answers, expected.map(|answer| answer.map(str::to_owned)), "{authorization}");
        }
        assert_eq!(ask(&access, None, Scope::Read), Err(401));
    }

    #[test]
    fn without_a_token_one_may_at_most_read() {
        let access = access("a:one", Some("public"));
        assert_eq!(ask(&access, None, Scope::Read), Ok("public".to_owned()));
        assert_eq!(ask(&access, None, Scope::Write), Err(401));
        assert_eq!(ask(&access, None, Scope::Admin), Err(401));
        assert_eq!(ask(&access, Some("Bearer wrong"), Scope::Read), Err(401), "a wrong token is not no token");
        assert_eq!(ask(&access, Some("Bearer one"), Scope::Read), Ok("a".to_owned()));
    }

    #[test]
    fn an_endless_secret_is_refused_unhashed() {
        let access = access("a:one", None);
        let long = format!("Bearer {}", "x".repeat(SECRET_BYTES_MAX + 1));
        assert_eq!(ask(&access, Some(&long), Scope::Read), Err(401));
    }

    #[test]
    fn a_token_is_parsed_by_its_grammar() {
        for text in ["a:s", "a:s:read", "a:s:read+write+admin", "a.b_c-1:AZaz09-._~+/==:admin"] {
            assert!(text.parse::<Token>().is_ok(), "{text}");
        }
        let cases = [
            ("", TokenRule::Form),
            ("a", TokenRule::Form),
            ("a:s:read:write", TokenRule::Form),
            ("a:", TokenRule::Secret),
            ("a:==", TokenRule::Secret),
            ("a:s=s", TokenRule::Secret),
            ("a:s s", TokenRule::Secret),
            ("a:s:", TokenRule::Scopes),
            ("a:s:Read", TokenRule::Scopes),
            ("a:s:read+", TokenRule::Scopes),
        ];
        for (text, rule) in cases {
            assert_eq!(text.parse::<Token>(), Err(rule), "{text}");
        }
        assert!(matches!(":s".parse::<Token>(), Err(TokenRule::Tenant(_))));
        assert!(matches!("A:s".parse::<Token>(), Err(TokenRule::Tenant(_))));
    }

    #[test]
    fn a_token_does_not_show_its_secret() {
        let token: Token = "a:hush".parse().unwrap();
        assert_eq!(format!("{token:?}"), r#"Token { tenant: "a", scopes: {"read", "write"}, .. }"#);
        assert!(!token.is_safe());
    }
}
