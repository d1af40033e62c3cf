//! TLS from PEM files: rustls on aws-lc, HTTP/2 preferred.

use std::path::Path;
use std::sync::Arc;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;

use crate::app::StartError;
use crate::config::TlsConfig;

/// `None` without a certificate: plain text.
pub(in crate::app) fn acceptor(config: &TlsConfig) -> Result<Option<TlsAcceptor>, StartError> {
    let (Some(certificate), Some(key)) = (&config.certificate, &config.key) else {
        return Ok(None);
    };
    let chain = chain(certificate).map_err(|why| refused("tls.certificate", certificate, &why))?;
    let secret = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| refused("tls.key", key, &error.to_string()))?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            let builder = builder.with_no_client_auth();
            builder.with_single_cert(chain, secret)
        })
        .map_err(|error| refused("tls.key", key, &error.to_string()))?;
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Some(TlsAcceptor::from(Arc::new(server))))
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)
        .map_err(|error| error.to_string())?
        .collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err("holds no certificate".to_owned()),
        Ok(chain) => Ok(chain),
        Err(error) => Err(error.to_string()),
    }
}

fn refused(key: &'static str, path: &Path, why: &str) -> StartError {
    StartError::Setting {
        key,
        why: format!("{}: {why}", path.display()),
    }
}
