//! TLS with a certificate that is made at the start.

use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio_rustls::TlsAcceptor;

use crate::settings::Settings;

/// TLS for localhost and 127.0.0.1, and the certificate as PEM. ALPN offers what the settings speak.
pub(crate) fn acceptor(settings: &Settings) -> io::Result<(TlsAcceptor, String)> {
    let names = vec!["localhost".into(), "127.0.0.1".into()];
    let made = rcgen::generate_simple_self_signed(names).map_err(io::Error::other)?;
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    // Named, not the process's default: that one may be another or none.
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key)
        })
        .map_err(io::Error::other)?;
    if settings.http2 {
        config.alpn_protocols.push(b"h2".to_vec());
    }
    if settings.http1 {
        config.alpn_protocols.push(b"http/1.1".to_vec());
    }
    Ok((TlsAcceptor::from(Arc::new(config)), made.cert.pem()))
}
