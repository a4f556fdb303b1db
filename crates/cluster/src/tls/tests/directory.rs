//! What a directory must hold, and what is told of it.

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair};

use super::*;

struct Directory {
    files: TempDir,
    time: Time,
    ca: Issued,
    node: Issued,
}

impl Directory {
    fn new() -> Self {
        let (files, time, ca) = (tempfile::tempdir().unwrap(), Time::new(), ca("ca"));
        let node = node_of(&ca, "a.example", 100, time.now());
        write(files.path(), &[&ca], &node);
        Self { files, time, ca, node }
    }

    fn path(&self) -> &Path {
        self.files.path()
    }

    fn put(&self, file: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path().join(file), bytes).unwrap();
    }

    fn load(&self) -> Result<Credentials, TlsError> {
        Credentials::load(self.path(), self.time.wall_clock())
    }

    /// The error of loading it, whose text names `file`.
    fn error(&self, file: &str) -> TlsError {
        let error = self.load().unwrap_err();
        let path = self.path().join(file);
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        error
    }

    /// Puts in a certificate that `change` has made strange, signed by the CA.
    fn put_strange_node(&self, hosts: &[&str], change: impl FnOnce(&mut CertificateParams)) {
        let key = KeyPair::from_pem(&self.ca.key_pem).unwrap();
        let issuer = Issuer::from_ca_cert_pem(&self.ca.certificate_pem, key).unwrap();
        let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
        let mut parameters = CertificateParams::new(hosts).unwrap();
        change(&mut parameters);
        let key = KeyPair::generate().unwrap();
        self.put(NODE_FILE, parameters.signed_by(&key, &issuer).unwrap().pem());
        self.put(NODE_KEY_FILE, key.serialize_pem());
    }
}

#[test]
fn credentials_tell_what_was_loaded() {
    let directory = Directory::new();
    let credentials = directory.load().unwrap();
    assert_eq!(credentials.node().names, ["a.example"]);
    assert_eq!(credentials.node().not_after, directory.node.not_after);
    let ends: Vec<_> = credentials.certificates().map(|(file, certificate)| (file, certificate.not_after)).collect();
    assert_eq!(ends, [(NODE_FILE, directory.node.not_after), (CA_FILE, directory.ca.not_after)]);
}

#[test]
fn a_file_that_is_missing_or_too_long_is_named() {
    for file in [CA_FILE, NODE_FILE, NODE_KEY_FILE] {
        let directory = Directory::new();
        let mut bytes = fs::read(directory.path().join(file)).unwrap();
        bytes.resize(FILE_BYTES_MAX, b'\n');
        directory.put(file, &bytes);
        assert!(directory.load().is_ok(), "{file}");
        bytes.push(b'\n');
        directory.put(file, &bytes);
        assert!(matches!(directory.error(file), TlsError::TooLong { .. }));
        fs::remove_file(directory.path().join(file)).unwrap();
        assert!(matches!(directory.error(file), TlsError::Read { .. }));
    }
}

#[test]
fn a_file_without_certificates_is_named() {
    for file in [CA_FILE, NODE_FILE] {
        let directory = Directory::new();
        let whole = fs::read_to_string(directory.path().join(file)).unwrap();
        directory.put(file, "");
        assert!(matches!(directory.error(file), TlsError::NoCertificate { .. }));
        directory.put(file, &directory.node.key_pem);
        assert!(matches!(directory.error(file), TlsError::NoCertificate { .. }));
        directory.put(file, &whole[..whole.len() / 2]);
        assert!(matches!(directory.error(file), TlsError::Pem { .. }));
        directory.put(file, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        assert!(matches!(directory.error(file), TlsError::NotACertificate { number: 1, .. }));
    }
}

#[test]
fn a_key_that_is_none_or_another_one_is_refused() {
    let directory = Directory::new();
    for key in ["", &directory.node.certificate_pem, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
        directory.put(NODE_KEY_FILE, key);
        assert!(matches!(directory.error(NODE_KEY_FILE), TlsError::NoKey { .. }));
    }
    directory.put(NODE_KEY_FILE, node_of(&directory.ca, "a.example", 100, directory.time.now()).key_pem);
    assert!(matches!(directory.error(NODE_KEY_FILE), TlsError::KeyMismatch { .. }));
}

#[test]
fn a_certificate_of_another_ca_is_refused() {
    for name in ["another", "ca"] {
        let directory = Directory::new();
        directory.put(CA_FILE, ca(name).certificate_pem);
        assert!(matches!(directory.error(NODE_FILE), TlsError::ForeignCa { .. }), "{name}");
    }
}

#[test]
fn a_certificate_outside_its_dates_is_refused() {
    let directory = Directory::new();
    directory.time.pass(100 * DAY);
    assert!(directory.load().is_ok());
    directory.time.pass(DAY / 86_400);
    let expected = directory.node.not_after;
    assert!(matches!(directory.error(NODE_FILE), TlsError::Expired { not_after, .. } if not_after == expected));
    let later = node_of(&directory.ca, "a", 1, UnixNanos::new(START + 200 * DAY));
    write(directory.path(), &[&directory.ca], &later);
    assert!(matches!(directory.error(NODE_FILE), TlsError::NotYetValid { .. }));
}

#[test]
fn a_certificate_that_peers_would_refuse_is_refused_at_once() {
    let directory = Directory::new();
    directory.put_strange_node(&[], |_| {});
    assert!(matches!(directory.error(NODE_FILE), TlsError::NoNames { .. }));
    for one in [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth] {
        directory.put_strange_node(&["a"], |parameters| parameters.extended_key_usages = vec![one]);
        assert!(matches!(directory.error(NODE_FILE), TlsError::Unfit { .. }));
    }
    directory.put_strange_node(&["a"], |_| {});
    assert!(directory.load().is_ok());
}

/// Believed as a CA, the certificate of a node would let its owner in under any name.
#[test]
fn a_certificate_of_a_node_is_no_ca() {
    let directory = Directory::new();
    directory.put(CA_FILE, format!("{}{}", directory.ca.certificate_pem, directory.node.certificate_pem));
    let error = directory.error(CA_FILE);
    assert!(matches!(&error, TlsError::NotACa { number: 2, subject, .. } if subject == "CN=a.example"), "{error}");
}

#[test]
fn a_description_tells_what_there_is() {
    let directory = Directory::new();
    let description = describe(directory.path(), directory.time.now()).unwrap();
    assert!(description.problem.is_none());
    let told: Vec<_> = description
        .certificates
        .iter()
        .map(|described| {
            (described.file, described.certificate.subject.as_str(), described.days_left, described.warning)
        })
        .collect();
    assert_eq!(told, [(CA_FILE, "CN=ca", 1000, None), (NODE_FILE, "CN=a.example", 100, None)]);
    let fingerprints: Vec<_> =
        description.certificates.iter().map(|described| &described.certificate.fingerprint).collect();
    assert!(fingerprints[0] != fingerprints[1] && fingerprints[0].len() == 32 * 3 - 1);
}

#[test]
fn a_description_tells_why_a_node_could_not_start_and_tells_the_rest_all_the_same() {
    let directory = Directory::new();
    let late = UnixNanos::new(START + 101 * DAY);
    let description = describe(directory.path(), late).unwrap();
    assert!(matches!(description.problem, Some(TlsError::Expired { .. })));
    assert_eq!(description.certificates[1].warning, Some(Severity::Expired));
    fs::remove_file(directory.path().join(NODE_FILE)).unwrap();
    let description = describe(directory.path(), late).unwrap();
    assert!(matches!(description.problem, Some(TlsError::Read { .. })), "the key is there without it");
    fs::remove_file(directory.path().join(NODE_KEY_FILE)).unwrap();
    let description = describe(directory.path(), late).unwrap();
    assert!(description.problem.is_none(), "a CA's own directory");
    fs::remove_file(directory.path().join(CA_FILE)).unwrap();
    assert!(matches!(describe(directory.path(), late), Err(TlsError::Read { .. })));
}
