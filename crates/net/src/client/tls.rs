//! TLS of a client: roots, client certificate, versions; files are watched.

use super::{ClientError, SECRET_FILE_BYTES};
use crate::config::{TlsConfig, TlsVersion};
use crate::pem;
use disk::small::Watched;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// The provider of all TLS in this room.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(rustls::crypto::ring::default_provider())))
}

/// The system's roots, read when the first connection needs them.
pub(crate) fn system_roots() -> Arc<RootCertStore> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let load = || {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(store)
    };
    Arc::clone(ROOTS.get_or_init(load))
}

/// A PEM text that is given or stands in a watched file.
#[derive(Debug)]
enum Material {
    None,
    Given(String),
    File { watched: Watched, text: String },
}

impl Material {
    /// `what`: `CA cert`, as upstream's texts name it.
    fn read(given: &str, file: &Path, what: &str) -> Result<Material, ClientError> {
        if !given.is_empty() {
            return Ok(Material::Given(given.to_owned()));
        }
        if file.as_os_str().is_empty() {
            return Ok(Material::None);
        }
        let watched = Watched::new(disk::OsDisk::shared(), file, SECRET_FILE_BYTES);
        let mut material = Material::File { watched, text: String::new() };
        material.refresh(what)?;
        Ok(material)
    }

    fn refresh(&mut self, what: &str) -> Result<bool, ClientError> {
        let Material::File { watched, text } = self else { return Ok(false) };
        match watched.changed() {
            Ok(None) => Ok(false),
            Ok(Some(now)) => {
                let changed = *text != now;
                *text = now;
                Ok(changed)
            }
            Err(e) => {
                let file = watched.path().display();
                Err(ClientError::Credentials(format!(
                    "unable to read {what}: unable to read file {file}: {e}"
                )))
            }
        }
    }

    fn text(&self) -> Option<&str> {
        match self {
            Material::None => None,
            Material::Given(text) | Material::File { text, .. } => Some(text),
        }
    }

    fn description(&self) -> String {
        match self {
            Material::File { watched, .. } => format!("file {}", watched.path().display()),
            _ => "inline".into(),
        }
    }
}

#[derive(Debug)]
pub(super) struct ClientTls {
    ca: Material,
    cert: Material,
    key: Material,
    insecure: bool,
    min: Option<TlsVersion>,
    max: Option<TlsVersion>,
}

impl ClientTls {
    pub(super) fn new(config: &TlsConfig) -> Result<Self, ClientError> {
        Ok(ClientTls {
            ca: Material::read(&config.ca, &config.ca_file, "CA cert")?,
            cert: Material::read(&config.cert, &config.cert_file, "specified client cert")?,
            key: Material::read(config.key.expose(), &config.key_file, "specified client key")?,
            insecure: config.insecure_skip_verify,
            min: config.min_version,
            max: config.max_version,
        })
    }

    /// Whether a file has changed since the last look.
    pub(super) fn refresh(&mut self) -> Result<bool, ClientError> {
        let ca = self.ca.refresh("CA cert")?;
        let cert = self.cert.refresh("client cert")?;
        let key = self.key.refresh("client key")?;
        Ok(ca | cert | key)
    }

    pub(super) fn rustls(&self, http2: bool) -> Result<Arc<rustls::ClientConfig>, ClientError> {
        let given = match self.ca.text() {
            Some(text) => Some(self.roots(text)?),
            None => None,
        };
        let verifier = Verifier { insecure: self.insecure, given, inner: OnceLock::new() };
        let builder = rustls::ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions(self.min, self.max))
            .map_err(|e| ClientError::Config(e.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match (self.cert.text(), self.key.text()) {
            (Some(cert), Some(key)) => {
                let told = |e: String| {
                    let (cert, key) = (self.cert.description(), self.key.description());
                    ClientError::Config(format!(
                        "unable to use specified client cert ({cert}) & key ({key}): {e}"
                    ))
                };
                let chain = pem::certificates(cert).map_err(told)?;
                let key = pem::private_key(key).map_err(told)?;
                builder.with_client_auth_cert(chain, key).map_err(|e| told(e.to_string()))?
            }
            _ => builder.with_no_client_auth(),
        };
        config.alpn_protocols = if http2 { vec![b"h2".to_vec(), b"http/1.1".to_vec()] } else { Vec::new() };
        Ok(Arc::new(config))
    }

    fn roots(&self, text: &str) -> Result<Given, ClientError> {
        let refused =
            || ClientError::Config(format!("unable to use specified CA cert {}", self.ca.description()));
        let certificates = pem::certificates(text).map_err(|_| refused())?;
        let mut store = RootCertStore::empty();
        let (added, _) = store.add_parsable_certificates(certificates.iter().cloned());
        if added == 0 {
            return Err(refused());
        }
        Ok(Given { store: Arc::new(store), certificates })
    }
}

/// The versions between two bounds; ours begin with 1.2, so lower bounds below it mean it.
pub(crate) fn versions(
    min: Option<TlsVersion>,
    max: Option<TlsVersion>,
) -> &'static [&'static rustls::SupportedProtocolVersion] {
    static ONLY_12: [&rustls::SupportedProtocolVersion; 1] = [&rustls::version::TLS12];
    static ONLY_13: [&rustls::SupportedProtocolVersion; 1] = [&rustls::version::TLS13];
    if min == Some(TlsVersion::Tls13) {
        &ONLY_13
    } else if max == Some(TlsVersion::Tls12) {
        &ONLY_12
    } else {
        rustls::ALL_VERSIONS
    }
}

#[derive(Debug)]
struct Given {
    store: Arc<RootCertStore>,
    certificates: Vec<CertificateDer<'static>>,
}

/// The usual check with two differences: it may be switched off, and a certificate that is itself among the
/// given roots is accepted as a server's even when it says that it is a CA, as Go does. Self-signed server
/// certificates made by `openssl req -x509` say so.
#[derive(Debug)]
struct Verifier {
    insecure: bool,
    given: Option<Given>,
    inner: OnceLock<Result<Arc<WebPkiServerVerifier>, String>>,
}

impl Verifier {
    fn inner(&self) -> Result<&Arc<WebPkiServerVerifier>, rustls::Error> {
        let build = || {
            let roots = self.given.as_ref().map_or_else(system_roots, |g| Arc::clone(&g.store));
            WebPkiServerVerifier::builder_with_provider(roots, provider()).build().map_err(|e| e.to_string())
        };
        self.inner.get_or_init(build).as_ref().map_err(|e| rustls::Error::General(e.clone()))
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.insecure {
            return Ok(ServerCertVerified::assertion());
        }
        let error = match self.inner()?.verify_server_cert(end_entity, intermediates, server_name, ocsp, now)
        {
            Ok(verified) => return Ok(verified),
            Err(error) => error,
        };
        // Dates are checked before the CA mark, so this error says that they are good.
        let marked_ca = matches!(&error, rustls::Error::InvalidCertificate(CertificateError::Other(other))
            if other.to_string().contains("CaUsedAsEndEntity"));
        let known = self.given.as_ref().is_some_and(|g| g.certificates.iter().any(|c| c == end_entity));
        if marked_ca && known {
            let parsed = rustls::server::ParsedCertificate::try_from(end_entity)?;
            rustls::client::verify_server_name(&parsed, server_name)?;
            return Ok(ServerCertVerified::assertion());
        }
        Err(error)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            cert,
            signed,
            &provider().signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            cert,
            signed,
            &provider().signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
