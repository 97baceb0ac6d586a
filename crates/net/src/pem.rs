//! Certificates and keys from PEM text.

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// All certificates of a text; none is an error.
pub(crate) fn certificates(text: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let found = found.map_err(|e| format!("tls: {e}"))?;
    if found.is_empty() {
        return Err("tls: failed to find any PEM data in certificate input".into());
    }
    Ok(found)
}

/// The first private key of a text: PKCS#8, PKCS#1 or SEC1.
pub(crate) fn private_key(text: &str) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(text.as_bytes())
        .map_err(|_| "tls: failed to find any PEM data in key input".into())
}
