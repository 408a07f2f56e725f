//! A web server that answers what a test wants, over HTTP and HTTPS.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use anyhow::{Context as _, Result};
use rustls::{ServerConfig, ServerConnection, StreamOwned, pki_types::PrivateKeyDer};
use socket2::SockRef;
use xdpfw_tests::{Host, PATIENCE};

/// What is answered to whoever asks for a path.
pub type Site = dyn Fn(&str, &mut dyn Write) -> std::io::Result<()> + Send + Sync;

/// The server, which ends when it is dropped.
pub struct Web {
    listener: Arc<TcpListener>,
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Web {
    /// Serves a site over HTTP.
    pub fn start(host: &Host, address: SocketAddr, site: Arc<Site>) -> Result<Self> {
        Self::serve(host, address, site, None)
    }

    /// Serves a site over HTTPS, and writes the certificate to be trusted to a file.
    pub fn secure(host: &Host, address: SocketAddr, site: Arc<Site>, trust: &Path) -> Result<Self> {
        let rcgen::CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed([address.ip().to_string()])?;
        std::fs::write(trust, cert.pem())?;
        let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)?;
        Self::serve(host, address, site, Some(Arc::new(config)))
    }

    fn serve(
        host: &Host,
        address: SocketAddr,
        site: Arc<Site>,
        config: Option<Arc<ServerConfig>>,
    ) -> Result<Self> {
        let listener = host.enter(|| TcpListener::bind(address).context("cannot listen"))?;
        let listener = Arc::new(listener);
        let stopped = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let (listener, stopped) = (listener.clone(), stopped.clone());
            move || {
                while !stopped.load(Ordering::SeqCst) {
                    let Ok((stream, _)) = listener.accept() else {
                        continue;
                    };
                    let (site, config) = (site.clone(), config.clone());
                    // A client that does not take its answer harms only itself.
                    thread::spawn(move || answer(stream, &*site, config));
                }
            }
        });
        Ok(Self {
            listener,
            stopped,
            thread: Some(thread),
        })
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        let _ = SockRef::from(&*self.listener).shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(stream: TcpStream, site: &Site, config: Option<Arc<ServerConfig>>) -> Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    match config {
        None => talk(stream, site),
        Some(config) => talk(
            StreamOwned::new(ServerConnection::new(config)?, stream),
            site,
        ),
    }
}

fn talk(mut stream: impl Read + Write, site: &Site) -> Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        request.extend(byte);
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let path = request.split(' ').nth(1).context("no path")?;
    site(path, &mut stream)?;
    Ok(stream.flush()?)
}

/// Answers a document.
pub fn document(to: &mut dyn Write, document: &[u8]) -> std::io::Result<()> {
    let len = document.len();
    write!(
        to,
        "HTTP/1.1 200 OK\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n"
    )?;
    to.write_all(document)
}

/// Leads elsewhere.
pub fn redirect(to: &mut dyn Write, location: &str) -> std::io::Result<()> {
    write!(
        to,
        "HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
}
