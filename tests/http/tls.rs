//! The server speaks TLS itself, and takes in a certificate that was renewed.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::support::{Bench, eventually, quick, run};

/// Writes a certificate for `localhost` that vouches for itself, with its key.
fn certify(folder: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    std::fs::write(folder.join("certificate.pem"), made.cert.pem()).unwrap();
    CertificateDer::from_pem_file(folder.join("certificate.pem")).unwrap()
}

/// The whole answer to a request, where the server shows a certificate that is trusted.
fn ask(address: &str, trusted: &CertificateDer<'static>, request: &str) -> Result<String, std::io::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = StreamOwned::new(connection, TcpStream::connect(address)?);
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    // Some servers close without a word of farewell.
    if let Err(error) = stream.read_to_end(&mut answer)
        && answer.is_empty()
    {
        return Err(error);
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[test]
fn a_server_with_a_certificate_speaks_tls_alone_and_takes_in_a_renewed_one() {
    let folder = tempfile::tempdir().unwrap();
    let first = certify(folder.path());
    let path = |name: &str| folder.path().join(name).display().to_string();
    let config = format!("[tls]\ncertificate = {:?}\nkey = {:?}\n", path("certificate.pem"), path("key.pem"));
    let bench = Bench::new().config(&config);
    let server = bench.start();
    let address = server.url.strip_prefix("https://").unwrap().to_owned();

    let body = quick().to_string();
    let request = format!(
        "POST /txt2img HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = ask(&address, &first, &request).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("\"https://localhost/files/"), "{answer}");
    let ready = "GET /health/ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let mut plain = TcpStream::connect(&address).unwrap();
    plain.write_all(ready.as_bytes()).unwrap();
    let mut answer = Vec::new();
    plain.read_to_end(&mut answer).ok();
    assert!(!answer.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&answer));

    // The commands, too, trust nobody without being told to.
    let list = |certificate: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gesso"));
        let url = server.url.replace("127.0.0.1", "localhost");
        command.args(["task", "list", "--url", &url]).env("SSL_CERT_FILE", certificate);
        run(command)
    };
    let (code, output, errors) = list(&path("certificate.pem"));
    assert_eq!((code, output.contains("succeeded")), (0, true), "{output}{errors}");
    assert_eq!(list("/dev/null").0, 1);

    let second = certify(folder.path());
    assert!(ask(&address, &second, ready).is_err(), "the old one is shown until the server is told");
    server.signal("HUP");
    eventually("the new one is shown", || ask(&address, &second, ready).is_ok());
    assert!(ask(&address, &first, ready).is_err());
    std::fs::write(folder.path().join("key.pem"), "damage").unwrap();
    server.signal("HUP");
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert!(ask(&address, &second, ready).unwrap().starts_with("HTTP/1.1 200"));
    assert!(server.stop().success());
}

#[test]
fn a_certificate_that_cannot_be_used_is_named_and_nothing_starts() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = folder.path().join("none.pem");
    let config = format!("[tls]\ncertificate = {certificate:?}\nkey = {certificate:?}\n");
    let (code, _, errors) = run(Bench::new().config(&config).command());
    assert_eq!(code, 1, "{errors}");
    assert!(errors.contains("none.pem"), "{errors}");
}
