//! TLS of the listener: certificate, client certificates, versions, suites; files are watched.

use super::{TlsServerConfig, WebConfig, WebConfigError, san};
use crate::client::tls::{provider, system_roots, versions};
use crate::config::TlsVersion;
use crate::pem;
use disk::small::{DEFAULT_LIMIT_BYTES, Watched};
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};
use std::path::Path;
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClientAuth {
    None,
    /// Asked for, not checked.
    Request,
    /// Must be there, not checked.
    RequireAny,
    VerifyIfGiven,
    RequireAndVerify,
}

pub(super) struct ServerTls {
    config: TlsServerConfig,
    auth: ClientAuth,
    files: Vec<Watched>,
    /// With and without HTTP/2.
    built: Option<(bool, Arc<rustls::ServerConfig>)>,
}

impl ServerTls {
    /// `None`: the file does not ask for TLS. Certificates are read, so that a bad one is told at start.
    pub(super) fn new(config: &WebConfig) -> Result<Option<ServerTls>, WebConfigError> {
        let tls = &config.tls_server_config;
        let has = |text: &str, file: &Path| !text.is_empty() || !file.as_os_str().is_empty();
        let (cert, key) = (has(&tls.cert, &tls.cert_file), has(tls.key.expose(), &tls.key_file));
        let client_ca = has(&tls.client_ca, &tls.client_ca_file);
        if !cert && !key && !client_ca && tls.client_auth_type.is_empty() {
            return Ok(None);
        }
        if !cert {
            return WebConfigError::err("missing one of cert or cert_file");
        }
        if !key {
            return WebConfigError::err("missing one of key or key_file");
        }
        let auth = match tls.client_auth_type.as_str() {
            "RequestClientCert" => ClientAuth::Request,
            "RequireAnyClientCert" | "RequireClientCert" => ClientAuth::RequireAny,
            "VerifyClientCertIfGiven" => ClientAuth::VerifyIfGiven,
            "RequireAndVerifyClientCert" => ClientAuth::RequireAndVerify,
            "" | "NoClientCert" => ClientAuth::None,
            other => return WebConfigError::err(format!("invalid ClientAuth: {other}")),
        };
        if client_ca && auth == ClientAuth::None {
            return WebConfigError::err("client CA's have been configured without a Client Auth Policy");
        }
        if tls.max_version < TlsVersion::Tls12 {
            let max = tls.max_version.as_str();
            return WebConfigError::err(format!("max_version {max} is not supported: TLS12 is the oldest"));
        }
        let files = [&tls.cert_file, &tls.key_file, &tls.client_ca_file];
        let files = files.into_iter().filter(|f| !f.as_os_str().is_empty());
        let files = files.map(|f| Watched::new(disk::OsDisk::shared(), f, DEFAULT_LIMIT_BYTES)).collect();
        let mut built = ServerTls { config: tls.clone(), auth, files, built: None };
        built.rustls(config.http_server_config.http2)?;
        Ok(Some(built))
    }

    pub(super) fn rustls(&mut self, http2: bool) -> Result<Arc<rustls::ServerConfig>, WebConfigError> {
        let mut changed = false;
        for file in &mut self.files {
            // An unreadable file is told by `build`, in upstream's words.
            changed |= !matches!(file.changed(), Ok(None));
        }
        if let Some((for_http2, built)) = &self.built
            && *for_http2 == http2
            && !changed
        {
            return Ok(Arc::clone(built));
        }
        self.built = None;
        let built = Arc::new(self.build(http2)?);
        self.built = Some((http2, Arc::clone(&built)));
        Ok(built)
    }

    fn build(&self, http2: bool) -> Result<rustls::ServerConfig, WebConfigError> {
        let config = &self.config;
        let cert = text(&config.cert, &config.cert_file, "cert_file")?;
        let key = text(config.key.expose(), &config.key_file, "key_file")?;
        let pair = |e: String| WebConfigError(format!("failed to load X509KeyPair: {e}"));
        let (cert, key) = (pem::certificates(&cert).map_err(pair)?, pem::private_key(&key).map_err(pair)?);
        let provider = Arc::new(self.suites()?);
        let builder = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions(Some(config.min_version), Some(config.max_version)))
            .map_err(|e| WebConfigError(e.to_string()))?;
        let builder = match self.verifier()? {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut built = builder.with_single_cert(cert, key).map_err(|e| pair(e.to_string()))?;
        built.alpn_protocols =
            if http2 { vec![b"h2".to_vec(), b"http/1.1".to_vec()] } else { vec![b"http/1.1".to_vec()] };
        Ok(built)
    }

    /// The provider narrowed to the configured suites and curves. TLS 1.3 suites cannot be chosen, as in Go.
    fn suites(&self) -> Result<CryptoProvider, WebConfigError> {
        let mut narrowed = (*provider()).clone();
        let config = &self.config;
        if !config.cipher_suites.is_empty() {
            for name in &config.cipher_suites {
                if !GO_SUITES.contains(&name.as_str()) {
                    return WebConfigError::err(format!("unknown cipher: {name}"));
                }
                if !narrowed.cipher_suites.iter().any(|s| suite_name(s) == *name) {
                    tracing::warn!(component = "web", cipher = %name, "Cipher suite is not supported and left out");
                }
            }
            narrowed
                .cipher_suites
                .retain(|s| s.tls13().is_some() || config.cipher_suites.contains(&suite_name(s)));
        }
        if !config.curve_preferences.is_empty() {
            let mut groups = Vec::new();
            for name in &config.curve_preferences {
                let group = match name.as_str() {
                    "CurveP256" => rustls::NamedGroup::secp256r1,
                    "CurveP384" => rustls::NamedGroup::secp384r1,
                    "CurveP521" => rustls::NamedGroup::secp521r1,
                    "X25519" => rustls::NamedGroup::X25519,
                    other => return WebConfigError::err(format!("unknown curve: {other}")),
                };
                match narrowed.kx_groups.iter().find(|g| g.name() == group) {
                    Some(known) => groups.push(*known),
                    None => {
                        tracing::warn!(component = "web", curve = %name, "Curve is not supported and left out")
                    }
                }
            }
            if groups.is_empty() {
                return WebConfigError::err("none of the configured curves is supported");
            }
            narrowed.kx_groups = groups;
        }
        Ok(narrowed)
    }

    fn verifier(&self) -> Result<Option<Arc<dyn ClientCertVerifier>>, WebConfigError> {
        let config = &self.config;
        let inner: Option<Arc<dyn ClientCertVerifier>> = match self.auth {
            ClientAuth::None => return Ok(None),
            ClientAuth::Request | ClientAuth::RequireAny => None,
            ClientAuth::VerifyIfGiven | ClientAuth::RequireAndVerify => {
                let ca = text(&config.client_ca, &config.client_ca_file, "client_ca_file")?;
                let roots = if ca.is_empty() {
                    system_roots()
                } else {
                    let mut store = RootCertStore::empty();
                    store.add_parsable_certificates(pem::certificates(&ca).map_err(WebConfigError)?);
                    Arc::new(store)
                };
                let mut builder = WebPkiClientVerifier::builder_with_provider(roots, provider());
                if self.auth == ClientAuth::VerifyIfGiven {
                    builder = builder.allow_unauthenticated();
                }
                Some(builder.build().map_err(|e| WebConfigError(format!("client CA: {e}")))?)
            }
        };
        let mandatory = matches!(self.auth, ClientAuth::RequireAny | ClientAuth::RequireAndVerify);
        Ok(Some(Arc::new(Verifier { inner, mandatory, allowed: config.client_allowed_sans.clone() })))
    }
}

/// The text of a setting that may stand in a file.
fn text(given: &str, file: &Path, what: &str) -> Result<String, WebConfigError> {
    if file.as_os_str().is_empty() {
        return Ok(given.to_owned());
    }
    disk::small::read_text(&disk::OsDisk, file, DEFAULT_LIMIT_BYTES)
        .map_err(|e| WebConfigError(format!("failed to read {what} ({}): {e}", file.display())))
}

/// Go's name of a suite.
fn suite_name(suite: &rustls::SupportedCipherSuite) -> String {
    format!("{:?}", suite.suite()).replace("TLS13_", "TLS_")
}

const GO_SUITES: [&str; 13] = [
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
];

/// Checks of client certificates by the configured policy, and of their names.
#[derive(Debug)]
struct Verifier {
    /// `None`: any certificate will do.
    inner: Option<Arc<dyn ClientCertVerifier>>,
    mandatory: bool,
    allowed: Vec<String>,
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.as_ref().map_or(&[], |inner| inner.root_hint_subjects())
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        if let Some(inner) = &self.inner {
            inner.verify_client_cert(end_entity, intermediates, now)?;
        }
        if !self.allowed.is_empty() {
            let names = san::names(end_entity.as_ref());
            if !names.iter().any(|name| self.allowed.contains(name)) {
                let text = format!(
                    "could not find allowed SANs in client cert, found: [{}]",
                    self.allowed.join(" ")
                );
                return Err(rustls::Error::General(text));
            }
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
