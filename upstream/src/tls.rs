//! TLS towards the APIs.

use std::io;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_native_certs::CertificateResult;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::error::with_causes;
use crate::link::Io;
use crate::{SendError, Settings, SetupError};

/// What to do about a certificate that is not trusted.
const UNTRUSTED: &str = "; add its authority's certificate to the system's (or name it in SSL_CERT_FILE), \
                         or set insecure_ssl = true to trust any";

/// How TLS is spoken to an API, and to the proxy before it.
pub(crate) struct Tls {
    origin: TlsConnector,
    proxy: TlsConnector,
}

impl Tls {
    pub(crate) fn new(settings: &Settings) -> Result<Self, SetupError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| SetupError::Tls(error.to_string()))?;
        let config = if settings.insecure_ssl {
            tracing::warn!(
                "insecure_ssl: any certificate is taken for the API's; anybody in between can read along"
            );
            config.dangerous().with_custom_certificate_verifier(Arc::new(TrustAnything(provider)))
        } else {
            config.with_root_certificates(roots(settings)?)
        };
        let mut config = config.with_no_client_auth();
        let proxy = TlsConnector::from(Arc::new(config.clone()));
        config.alpn_protocols = if settings.http2 {
            vec![b"h2".to_vec(), b"http/1.1".to_vec()]
        } else {
            vec![b"http/1.1".to_vec()]
        };
        Ok(Self { origin: TlsConnector::from(Arc::new(config)), proxy })
    }

    /// TLS with the API itself. True: the peer chose HTTP/2.
    pub(crate) async fn with_origin(
        &self,
        io: Box<dyn Io>,
        host: &str,
        address: &Arc<str>,
    ) -> Result<(Box<dyn Io>, bool), SendError> {
        let stream = handshake(&self.origin, io, host, address).await?;
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok((Box::new(stream), is_http2))
    }

    /// TLS with the proxy on the way to it.
    pub(crate) async fn with_proxy(
        &self,
        io: Box<dyn Io>,
        host: &str,
        address: &Arc<str>,
    ) -> Result<Box<dyn Io>, SendError> {
        Ok(Box::new(handshake(&self.proxy, io, host, address).await?))
    }
}

async fn handshake(
    connector: &TlsConnector,
    io: Box<dyn Io>,
    host: &str,
    address: &Arc<str>,
) -> Result<TlsStream<Box<dyn Io>>, SendError> {
    let failed = |detail: Arc<str>, advice| SendError::Tls { address: Arc::clone(address), detail, advice };
    let name = ServerName::try_from(host.to_owned()).map_err(|error| failed(error.to_string().into(), ""))?;
    connector.connect(name, io).await.map_err(|error| failed(with_causes(&error), advice(&error)))
}

fn advice(error: &io::Error) -> &'static str {
    match error.get_ref().and_then(|error| error.downcast_ref()) {
        Some(rustls::Error::InvalidCertificate(_)) => UNTRUSTED,
        _ => "",
    }
}

fn roots(settings: &Settings) -> Result<RootCertStore, SetupError> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = &settings.ca_file {
        let CertificateResult { certs, errors, .. } =
            rustls_native_certs::load_certs_from_paths(Some(path.as_path()), None);
        roots.add_parsable_certificates(certs);
        if roots.is_empty() {
            let detail = errors.first().map_or("no certificate in it".into(), |error| error.to_string());
            return Err(SetupError::CaFile { path: path.clone(), detail });
        }
    } else {
        let CertificateResult { certs, errors, .. } = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(certs);
        if roots.is_empty() {
            return Err(SetupError::NoRoots(
                errors.first().map_or(String::new(), |error| format!(" ({error})")),
            ));
        }
    }
    Ok(roots)
}

/// `insecure_ssl`: the certificate may be anybody's; the signatures are still its owner's.
#[derive(Debug)]
struct TrustAnything(Arc<CryptoProvider>);

impl ServerCertVerifier for TrustAnything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
