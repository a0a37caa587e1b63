use std::sync::Arc;

use mock_llm::Settings;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

use crate::{in_time, prompt, short, start};

fn connector(pem: &str, protocols: &[&str]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

#[tokio::test]
async fn tls_offers_what_the_settings_speak() {
    for (http1, http2, offered, chosen) in [
        (true, true, &["h2", "http/1.1"][..], Some("h2")),
        (true, true, &["http/1.1"], Some("http/1.1")),
        (true, false, &["h2", "http/1.1"], Some("http/1.1")),
        (false, true, &["h2", "http/1.1"], Some("h2")),
        (true, true, &[], None),
    ] {
        let mock = start(Settings { tls: true, http1, http2, ..short() }).await;
        assert!(mock.base_url().starts_with("https://127.0.0.1:"));
        let connector = connector(mock.certificate_pem().unwrap(), offered);
        let stream = TcpStream::connect(mock.address()).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = connector.connect(name, stream).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), chosen.map(str::as_bytes));
        if chosen == Some("h2") {
            let (mut client, connection) =
                h2::client::Builder::new().handshake::<_, &[u8]>(stream).await.unwrap();
            tokio::spawn(connection);
            let request = http::Request::get(format!("{}/models", mock.base_url())).body(()).unwrap();
            assert_eq!(in_time(client.send_request(request, true).unwrap().0).await.unwrap().status(), 200);
        } else {
            stream
                .write_all(b"GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                .await
                .unwrap();
            let mut answer = String::new();
            in_time(stream.read_to_string(&mut answer)).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        }
    }
}

#[tokio::test]
async fn a_unix_socket_serves_as_well() {
    let path = std::env::temp_dir().join(format!("mock-llm-test-{}.sock", std::process::id()));
    let mock = start(Settings { socket: Some(path.clone()), ..short() }).await;
    let mut stream = UnixStream::connect(&path).await.unwrap();
    let body = prompt("x").to_string();
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let mut answer = String::new();
    in_time(stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.contains("message_stop"), "{answer}");
    drop(mock);
    assert!(!path.exists());
}

#[tokio::test]
async fn the_end_of_the_mock_is_the_end_of_its_connections() {
    let mock = start(short()).await;
    let mut stream = TcpStream::connect(mock.address()).await.unwrap();
    assert!(mock.until(|mock| mock.connections() == 1).await);
    drop(mock);
    assert_eq!(in_time(stream.read(&mut [0])).await.unwrap(), 0);
}
