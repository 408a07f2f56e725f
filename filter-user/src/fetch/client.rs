//! Speaks HTTP with the server.

use std::{io, time::Duration};

use anyhow::{Context as _, Result, ensure};
use ureq::{
    Agent,
    config::Config,
    http::{Uri, uri::Authority},
    tls::{RootCerts, TlsConfig},
    unversioned::{
        resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver},
        transport::{DefaultConnector, NextTimeout},
    },
};

use super::{MAX_FETCHED, Request, address::is_public};

/// Redirects that are followed.
const REDIRECTS: u32 = 3;
/// What it says that it is.
const AGENT: &str = concat!("xdpfw/", env!("CARGO_PKG_VERSION"));

/// Writes what the server answers.
pub(super) fn fetch(request: &Request, to: &mut impl io::Write) -> Result<()> {
    let uri: Uri = request.url.parse()?;
    let config = Agent::config_builder()
        .https_only(!request.insecure)
        // They are followed here, by rules of our own.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .timeout_global(Some(Duration::from_millis(request.milliseconds)))
        .user_agent(AGENT)
        // A connection that is used again would not be looked up again.
        .max_idle_connections(0)
        .tls_config(
            TlsConfig::builder()
                .root_certs(RootCerts::PlatformVerifier)
                .build(),
        )
        .build();
    let resolver = Guarded {
        own: uri.authority().cloned(),
        resolver: DefaultResolver::default(),
    };
    let agent = Agent::with_parts(config, DefaultConnector::new(), resolver);
    let mut at = uri;
    let mut redirects = 0;
    let mut response = loop {
        let response = agent.get(&at).call().map_err(in_words)?;
        if !response.status().is_redirection() {
            break response;
        }
        ensure!(
            redirects < REDIRECTS,
            "it leads elsewhere more than {REDIRECTS} times"
        );
        redirects += 1;
        let location = response.headers().get("location");
        let location = location.and_then(|value| value.to_str().ok());
        at = next(
            &at,
            location.context("it leads elsewhere, and does not say where")?,
        )?;
    };
    ensure!(
        response.body().mime_type() != Some("text/html"),
        "it answers HTML (does the URL lead to the list itself?)"
    );
    let mut body = response
        .body_mut()
        .with_config()
        .limit(MAX_FETCHED)
        .reader();
    io::copy(&mut body, to).map_err(|error| match error.downcast::<ureq::Error>() {
        Ok(error) => in_words(error),
        Err(error) => error.into(),
    })?;
    to.flush()?;
    Ok(())
}

/// Where a redirect leads to (RFC 3986, section 4.2, without dots in paths, which servers know, too).
fn next(at: &Uri, location: &str) -> Result<Uri> {
    let scheme = at.scheme_str().unwrap_or_default();
    let authority = at.authority().map_or("", Authority::as_str);
    let head = location.split(['/', '?', '#']).next().unwrap_or_default();
    let text = if head.contains(':') {
        location.to_owned()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else {
        let directory = at
            .path()
            .rsplit_once('/')
            .map_or("", |(directory, _)| directory);
        format!("{scheme}://{authority}{directory}/{location}")
    };
    let said = location.escape_debug();
    let next: Uri = text
        .parse()
        .with_context(|| format!("it leads to `{said}`, which is no URL"))?;
    ensure!(
        matches!(next.scheme_str(), Some("http" | "https")),
        "it leads to `{said}`, which is no URL of a web server"
    );
    Ok(next)
}

/// What the library says, in words of the field.
fn in_words(error: ureq::Error) -> anyhow::Error {
    match error {
        ureq::Error::StatusCode(code) => anyhow::anyhow!("the server answers {code}"),
        ureq::Error::RequireHttpsOnly(_) => {
            anyhow::anyhow!("it leads to plain HTTP (say `insecure = true` if that will do)")
        }
        ureq::Error::BodyExceedsLimit(most) => {
            anyhow::anyhow!("it is longer than {} MiB", most >> 20)
        }
        ureq::Error::Timeout(_) => anyhow::anyhow!("not fetched in time (see --timeout)"),
        ureq::Error::Io(error) => error.into(),
        error => error.into(),
    }
}

/// Looks up names, and leads to no address of this host or its networks but where the operator
/// said so himself.
#[derive(Debug)]
struct Guarded {
    /// What the operator wrote, host and port.
    own: Option<Authority>,
    resolver: DefaultResolver,
}

impl Resolver for Guarded {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = self.resolver.resolve(uri, config, timeout)?;
        // A name that the operator wrote may be one of his own network's.
        if uri.authority() == self.own.as_ref() {
            return Ok(found);
        }
        match found.iter().find(|address| !is_public(address.ip())) {
            None => Ok(found),
            Some(address) => {
                let host = uri.host().unwrap_or_default();
                let why = format!(
                    "it leads to {}, {}, which is no public address (name that server in the policy)",
                    host.escape_debug(),
                    address.ip()
                );
                Err(ureq::Error::Io(io::Error::other(why)))
            }
        }
    }
}
