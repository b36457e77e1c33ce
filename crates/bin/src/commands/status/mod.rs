//! `status`: the running daemon's relays, asked of its admin endpoint.

mod client;
mod columns;
mod table;
mod watch;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use url::Url;

use crate::cli::StatusArgs;
use crate::config::Config;
use crate::exit::{CliError, Exit};
use crate::output::{plain_json, print, stdout_takes_colours};
use client::NoDocument;
use table::Painter;

/// Asks and prints. The configuration is read only where `--admin` doesn't say whom to ask.
///
/// # Errors
/// No daemon answers, or it answers nonsense.
pub fn run(args: &StatusArgs, load: impl FnOnce() -> Result<Config, CliError>) -> Result<Exit, CliError> {
    let url = match &args.admin {
        Some(text) => endpoint(text)?,
        None => endpoint(&configured(&load()?)?)?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CliError::Failed(format!("can't start: {error}")))?;
    if args.watch {
        return runtime.block_on(watch::run(&url, args.json));
    }
    let body = runtime.block_on(client::get(&url));
    let body = body.map_err(|why| {
        let hint = if matches!(why, NoDocument::NoConnection(_)) { "; is the daemon running?" } else { "" };
        CliError::Failed(format!("no status from {url}: {why}{hint}"))
    })?;
    let nonsense = |error| CliError::Failed(format!("{url} does not answer with a status document: {error}"));
    if args.json {
        let _: serde_json::Value = serde_json::from_slice(&body).map_err(nonsense)?;
        print(&format!("{}\n", plain_json(&String::from_utf8_lossy(body.trim_ascii_end()))))?;
    } else {
        let report = serde_json::from_slice(&body).map_err(nonsense)?;
        print(&Painter { colours: stdout_takes_colours() }.table(&report))?;
    }
    Ok(Exit::Done)
}

/// Where a daemon of this configuration can be asked.
fn configured(config: &Config) -> Result<String, CliError> {
    let listen = config.admin.listen.ok_or_else(|| {
        CliError::Usage("admin.listen is \"\": the daemon has no admin endpoint; or give --admin URL".to_owned())
    })?;
    // Bound to every address it answers on the loopback one.
    let ip = match listen {
        SocketAddr::V4(address) if address.ip().is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(address) if address.ip().is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        address => address.ip(),
    };
    Ok(format!("http://{}", SocketAddr::new(ip, listen.port())))
}

/// `/status` under the address given.
fn endpoint(text: &str) -> Result<Url, CliError> {
    let wrong = || CliError::Usage(format!("--admin {text}: must be a URL such as http://127.0.0.1:7448"));
    let text = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let mut url = Url::parse(&text).map_err(|_| wrong())?;
    if url.scheme() != "http" || !url.has_host() {
        return Err(wrong());
    }
    let path = url.path().trim_end_matches('/');
    let path = if path.ends_with("/status") { path.to_owned() } else { format!("{path}/status") };
    url.set_path(&path);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lead_to_the_document() {
        for (text, url) in [
            ("http://127.0.0.1:7448", "http://127.0.0.1:7448/status"),
            ("127.0.0.1:1/", "http://127.0.0.1:1/status"),
            ("http://[::1]:1/status", "http://[::1]:1/status"),
            ("http://host/admin/", "http://host/admin/status"),
        ] {
            assert_eq!(endpoint(text).expect(text).as_str(), url);
        }
        assert!(endpoint("https://x").is_err());
        assert!(endpoint("http://").is_err());
    }

    #[test]
    fn a_daemon_on_every_address_is_asked_on_the_loopback_one() {
        let mut config = Config::default();
        assert!(configured(&config).is_err());
        config.admin.listen = "0.0.0.0:9".parse().ok();
        assert_eq!(configured(&config).expect("on"), "http://127.0.0.1:9");
        config.admin.listen = "[::]:9".parse().ok();
        assert_eq!(configured(&config).expect("on"), "http://[::1]:9");
    }
}
